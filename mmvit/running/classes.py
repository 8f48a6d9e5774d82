"""Checks that a model, its checkpoint and its data have the same classes."""
from typing import Any

from torch import nn

from mmvit_backbones.engine.hooks.exact_resume import classes_of
from mmvit_backbones.errors import UsageError


def check_heads(model: nn.Module, dataset: Any) -> None:
    """Raises UsageError if a head has fewer classes than the data, but more than one, such as objectness."""
    names = classes_of(getattr(dataset, 'metainfo', None))
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        if name and isinstance(count, int) and 1 < count < len(names):
            raise UsageError(f'model.{name}.num_classes is {count}, but the training data have {len(names)} classes: '
                             f'{", ".join(names[:5])}{", …" if len(names) > 5 else ""}')


def check_tested(dataset: Any, checkpoint: dict, source: str) -> None:
    """Raises UsageError if test data and checkpoint have the same classes in different orders."""
    trained = classes_of((checkpoint.get('meta') or {}).get('dataset_meta'))
    tested = classes_of(getattr(dataset, 'metainfo', None))
    if tested != trained and set(tested) == set(trained):
        raise UsageError(f'checkpoint {source} was trained with the classes {trained}, but the test data have '
                         f'{tested}; use the same order')
