"""Makes training data reproducible, even if training resumes within an epoch."""
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.dist import get_rank
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import set_random_seed
from torch.utils.data import BatchSampler, Dataset, Sampler


@dataclass(frozen=True)
class SeededIndex:
    """The index of a sample, and the numbers that seed the random state before the sample is read."""
    index: int
    entropy: tuple[int, ...]


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(Sampler):
    """Yields the batches of a batch sampler as lists of :class:`SeededIndex`, starting at any batch.

    The random state of a sample is derived from the seed, the rank, the epoch, the batch and the position in the batch,
    so the random numbers do not depend on the number of workers. The data set must be a :class:`SeededDataset`.

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


class SeededDataset(Dataset):
    """Seeds the random state before a sample is read, if the index is a :class:`SeededIndex`.

    The attributes of the wrapped data set are also attributes of the wrapper.

    Args:
        dataset (Dataset): The data set.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset: Any = dataset

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

    def __deepcopy__(self, memo: dict) -> 'SeededDataset':
        """Returns itself, because MMEngine copies the settings of a loader; a copy of the data would take memory."""
        return self

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int | SeededIndex):
        if not isinstance(index, SeededIndex):
            return self.dataset[index]
        seed_all(*index.entropy)
        return self.dataset[index.index]


def seed_all(*entropy: int) -> None:
    """Seeds Python, NumPy and PyTorch with a hash of the numbers.

    Where CUDA is not initialized, as in workers, ``torch.manual_seed`` would format the stack for each sample.
    """
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    if get_device() not in ('cpu', 'cuda'):
        set_random_seed(seed)
        return
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
