"""Checks that a model, its checkpoint and its data have the same classes."""
from typing import Any

from torch import nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.classes import check_labels, classes_of, shown


def check_heads(model: nn.Module, dataset: Any) -> None:
    """Raises UsageError if a head has fewer classes than the data, but more than one, such as objectness."""
    names = classes_of(getattr(dataset, 'metainfo', None))
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        if name and isinstance(count, int) and 1 < count < len(names):
            raise UsageError(f'model.{name}.num_classes is {count}, but the training data have {len(names)} classes: '
                             f'{shown(names)}')


def check_tested(dataset: Any, checkpoint: dict, source: str) -> None:
    """Raises UsageError if a label means one class in the checkpoint and another in the test data."""
    meta = (checkpoint.get('meta') or {}).get('dataset_meta')
    check_labels(classes_of(meta), classes_of(getattr(dataset, 'metainfo', None)), f'checkpoint {source}',
                 'the test data', 'test on data with the same classes in the same order, or set their names in '
                 'test_dataloader.dataset.metainfo.classes')
