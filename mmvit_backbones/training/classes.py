"""Checks that a model, its checkpoint and its data have the same classes."""
from typing import Any

from torch import nn

from ..errors import TrainingError, UsageError

NEW_TRAINING = 'start a new run from the weights with load_from'


def classes_of(metainfo: Any) -> tuple[str, ...]:
    """Returns the names of the classes in the metadata of a data set, which may be None."""
    return tuple(map(str, (metainfo or {}).get('classes') or ()))


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


def check_resumed(dataset: Any, meta: dict) -> None:
    """Raises TrainingError if a checkpoint, by its metadata, and the training data differ in classes or their order."""
    before, now = classes_of(meta.get('dataset_meta')), classes_of(getattr(dataset, 'metainfo', None))
    if before != now:
        raise TrainingError(f'the checkpoint has the classes {", ".join(before)}, but the training data have '
                            f'{", ".join(now)}. Use the same classes in the same order, or {NEW_TRAINING}')
