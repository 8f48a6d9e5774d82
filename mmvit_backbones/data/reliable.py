"""Makes training data reproducible, even if training resumes within an epoch, and replaces unreadable samples."""
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from traceback import walk_tb
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS, DATASETS
from mmengine.runner import set_random_seed
from torch.utils.data import BatchSampler, Dataset, Sampler

from ..errors import TrainingError, UnreadableSampleError, first_line


@dataclass(frozen=True)
class SeededIndex:
    """The index of a sample, and the numbers that seed the random state before the sample is read."""
    index: int
    entropy: tuple[int, ...]


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(Sampler):
    """Yields the batches of a batch sampler as lists of :class:`SeededIndex`, starting at any batch.

    The random state of a sample is derived from the seed, the rank, the epoch, the batch and the position in the batch,
    so the random numbers do not depend on the number of workers. The data set must be a :class:`ReliableDataset`.

    Args:
        sampler (Sampler): Sampler of the data loader.
        batch_size (int): Batch size of the data loader.
        batch_sampler (dict | None): Config of the batch sampler. Defaults to None: PyTorch's ``BatchSampler``.
        drop_last (bool): Whether PyTorch's ``BatchSampler`` drops an incomplete last batch. Defaults to False.

    Attributes:
        start (int): Number of batches to skip at the start of the epoch.
    """

    def __init__(self, sampler: Sampler, batch_size: int, batch_sampler: dict | None = None,
                 drop_last: bool = False) -> None:
        self.sampler, self.batch_size, self.start = sampler, batch_size, 0
        if batch_sampler is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            self.batches = DATA_SAMPLERS.build(batch_sampler, default_args=dict(sampler=sampler, batch_size=batch_size))

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        origin = getattr(self.sampler, 'seed', 0), get_rank(), getattr(self.sampler, 'epoch', 0)
        for number, batch in islice(enumerate(self.batches), self.start, None):
            yield [SeededIndex(index, (*origin, number, position)) for position, index in enumerate(batch)]

    def __len__(self) -> int:
        """Returns the number of batches in a full epoch."""
        return len(self.batches)


@DATASETS.register_module()
class ReliableDataset(Dataset):
    """Makes the samples of a data set reproducible, and replaces unreadable samples with random other samples.

    The attributes of the wrapped data set are also attributes of the wrapper. Bugs are not hidden: an exception that
    does not come from reading a file is re-raised if two other samples raise the same exception at the same line.

    Args:
        dataset (dict | Dataset): The data set, or its config.
        max_skipped (int): Maximum number of unreadable samples per training process. Each is logged once and not read
            again. Defaults to 0.

    Raises:
        TrainingError: If the data set is empty, has more than ``max_skipped`` unreadable samples, or has no readable
            sample.
    """

    def __init__(self, dataset: dict | Dataset, max_skipped: int = 0) -> None:
        self.dataset: Any = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.max_skipped = max_skipped
        if not len(self.dataset):
            raise TrainingError(f'the training data set {self._name} is empty; filter_cfg may have removed all images')
        self.is_bad = torch.zeros(len(self.dataset), dtype=torch.bool).share_memory_()  # visible to all workers

    def __getattr__(self, name: str):
        if name == 'dataset' or name.startswith('__'):
            raise AttributeError(name)
        return getattr(self.dataset, name)

    @property
    def pipeline(self):
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline) -> None:  # set by hooks that change the augmentation
        self.dataset.pipeline = pipeline

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int | SeededIndex):
        index, entropy = (index.index, index.entropy) if isinstance(index, SeededIndex) else (index, ())
        for candidate in self._candidates(index, entropy):
            if entropy:
                seed_all(*entropy)
            try:
                return self.dataset[candidate]
            except Exception as error:  # a pipeline can raise any exception
                if self._is_bug(candidate, error):
                    raise
                self._skip(candidate, error)
        raise TrainingError(f'no sample of the training data set {self._name} can be read: '
                            f'all {len(self)} have failed, see the log')

    def _candidates(self, index: int, entropy: tuple[int, ...]) -> Iterator[int]:
        """Yields the index, then random indices seeded with the entropy; skips samples known to be unreadable."""
        if not self.is_bad[index]:
            yield index
        generator = np.random.default_rng(entropy or np.random.randint(2**31))
        while not self.is_bad.all():
            index = int(generator.integers(len(self)))
            if not self.is_bad[index]:
                yield index

    def _is_bug(self, index: int, error: Exception) -> bool:
        """Returns whether an error is a bug: it is not a reading error, and two other samples fail at the same line."""
        if is_reading_error(error):
            return False
        others = (~self.is_bad).nonzero().flatten().numpy()
        others = others[others != index]
        if len(others) < 2:
            return False
        return all(failure_place(self._failure(int(other))) == failure_place(error)
                   for other in np.random.default_rng(index).choice(others, 2, replace=False))

    def _failure(self, index: int) -> Exception | None:
        try:
            self.dataset[index]
        except Exception as error:
            return error
        return None

    def _skip(self, index: int, error: Exception) -> None:
        """Logs an unreadable sample, or raises UnreadableSampleError if there are more than ``max_skipped``."""
        self.is_bad[index] = True
        count = int(self.is_bad.sum())
        message = f'sample {index} ({self._files(index)}) cannot be read: {first_line(error)}'
        if count > self.max_skipped:
            limit = f'; {count} samples are unreadable, but max_skipped={self.max_skipped}' if self.max_skipped else ''
            raise UnreadableSampleError(f'{message}{limit}. Use a larger max_skipped to skip unreadable samples'
                                        ) from error
        print_log(f'{message}; another sample is used. Unreadable samples so far: {count}', 'current',
                  level=logging.WARNING)

    def _files(self, index: int) -> str:
        try:
            info = self.dataset.get_data_info(index)
            return ', '.join(str(path) for key, path in info.items() if key.endswith('_path') and path) or 'no file'
        except Exception:  # the data set may not be MMEngine's
            return 'unknown file'

    @property
    def _name(self) -> str:
        places = ((key, getattr(self.dataset, key, None)) for key in ('data_root', 'ann_file'))
        return f'{type(self.dataset).__name__}({", ".join(f"{key}={value!r}" for key, value in places if value)})'


def is_reading_error(error: Exception) -> bool:
    """Returns whether an error is an OSError or EOFError, or comes from a transform whose name starts with "Load".

    The class of the error is not enough, because decoders raise exceptions of many classes. In OpenMMLab, the names of
    transforms that read files start with "Load".
    """
    return isinstance(error, (OSError, EOFError)) or any(
        type(frame.f_locals.get('self')).__name__.startswith('Load') for frame, _ in walk_tb(error.__traceback__))


def failure_place(error: Exception | None) -> tuple | None:
    """Returns the class of an error, and the file and line that raised the error; None if there is no error."""
    if error is None:
        return None
    *_, (frame, line) = walk_tb(error.__traceback__)
    return type(error), frame.f_code.co_filename, line


def seed_all(*entropy: int) -> None:
    """Seeds Python, NumPy and PyTorch with a hash of the numbers."""
    set_random_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
