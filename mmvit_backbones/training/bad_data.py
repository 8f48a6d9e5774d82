"""Handles unreadable samples of the training data."""
import logging

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset

from ..errors import TrainingError, first_line
from ..zoo.loading import unwrap_model

POLICIES = ('stop', 'skip')


@HOOKS.register_module()
class BadDataHook(Hook):
    """Names the file of an unreadable training sample, and ends the training or takes another sample.

    It also ends a training on labels outside the classes of the head, and on an empty data set.

    Args:
        policy (str): ``'stop'`` or ``'skip'``, which logs each bad sample once and takes a random one instead.
            Defaults to ``'stop'``.
        max_skipped (int): Maximum number of bad samples for ``'skip'``. Defaults to 100.

    Raises:
        ValueError: If the policy is unknown.
        TrainingError: During training, according to the policy.
    """

    priority = 'VERY_HIGH'

    def __init__(self, policy: str = 'stop', max_skipped: int = 100) -> None:
        if policy not in POLICIES:
            raise ValueError(f'policy must be one of {POLICIES}, got {policy!r}')
        self.policy, self.max_skipped = policy, max_skipped

    def before_train(self, runner: Runner) -> None:
        dataset = runner.train_dataloader.dataset
        # Where torch's loader looks before it takes sample by sample.
        dataset.__getitems__ = CheckedItems(dataset, self.max_skipped if self.policy == 'skip' else 0)
        if not len(dataset):
            raise TrainingError('the training data set is empty; annotations may have been filtered out')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        model = unwrap_model(runner.model)
        for sample in data_batch.get('data_samples') or () if isinstance(data_batch, dict) else ():
            check_labels(model, sample)


class CheckedItems:
    """Reads samples, and replaces unreadable ones."""

    def __init__(self, dataset: Dataset, max_skipped: int) -> None:
        self.dataset, self.max_skipped = dataset, max_skipped
        self.is_bad = torch.zeros(len(dataset), dtype=torch.bool).share_memory_()  # by all workers

    def __call__(self, indices: list[int]) -> list:
        return [self.read(index) for index in indices]

    def read(self, index: int):
        while True:
            try:
                return self.dataset[index]
            # A pipeline can fail in any way.
            except Exception as error:
                self.note(index, error)
            index = np.random.randint(len(self.dataset))

    def note(self, index: int, error: Exception) -> None:
        is_new = not self.is_bad[index]
        self.is_bad[index] = True
        count = int(self.is_bad.sum())
        message = f'sample {index} ({describe(self.dataset, index)}) cannot be read: {first_line(error)}'
        if count > self.max_skipped:
            limit = f'; with it, {count} are bad, more than max_skipped={self.max_skipped}' if self.max_skipped else ''
            raise TrainingError(f'{message}{limit}. tools/data/check_data.py finds all bad files, '
                                "and policy='skip' trains without them") from error
        if is_new:
            print_log(f'{message}; another one is taken. Bad samples so far: {count}', 'current', level=logging.WARNING)


def check_labels(model: nn.Module, sample: BaseDataElement) -> None:
    """Raises a TrainingError if a label of a sample is outside the head's classes; CUDA would not name it."""
    if 'gt_sem_seg' in sample and hasattr(model, 'decode_head'):
        heads = model.decode_head if isinstance(model.decode_head, nn.ModuleList) else [model.decode_head]
        labels, path = sample.gt_sem_seg.data, sample.get('seg_map_path')
        num_classes, ignored = heads[-1].num_classes, heads[-1].ignore_index
    elif 'gt_label' in sample and isinstance(getattr(getattr(model, 'head', None), 'num_classes', None), int):
        labels, path, num_classes, ignored = sample.gt_label, sample.get('img_path'), model.head.num_classes, None
    else:
        return
    wrong = labels[((labels < 0) | (labels >= num_classes)) & (labels != ignored if ignored is not None else True)]
    if len(wrong):
        but = f'; {ignored} is ignored' if ignored is not None else ''
        raise TrainingError(f'{path}: label {int(wrong[0])}, and the model has the classes 0 to {num_classes - 1}{but}')


def describe(dataset: Dataset, index: int) -> str:
    """Returns the files of a sample."""
    try:
        info = dataset.get_data_info(index)
        return ', '.join(str(path) for key, path in info.items() if key.endswith('_path') and path) or 'no file'
    except Exception:  # it is what cannot be read, or the data set is none of mmengine's
        return 'unknown file'
