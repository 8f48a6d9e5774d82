"""Compares the classes of checkpoints, configs and data sets."""
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError

SHOWN = 5


def classes_of(metainfo: Any) -> tuple[str, ...]:
    """Returns the names of the classes in the metadata of a data set or a checkpoint; none if there are none."""
    classes = metainfo.get('classes') if isinstance(metainfo, Mapping) else None
    return tuple(map(str, classes)) if isinstance(classes, list | tuple) else ()


def check_labels(trained: Sequence[str], others: Sequence[str], source: str, what: str, remedy: str) -> None:
    """Raises UsageError if a label means one class in a model and another in ``what``; one may have more classes.

    Args:
        trained (Sequence[str]): Names of the classes of the model, by label; none if they are unknown.
        others (Sequence[str]): Those of ``what``.
        source (str): The model's file, for the message.
        what (str): What the model is used with, in the plural.
        remedy (str): What to do.
    """
    label = next((label for label, pair in enumerate(zip(trained, others)) if pair[0] != pair[1]), None)
    if label is not None:
        raise UsageError(f'{source} was trained with the classes {shown(trained)}, but {what} have {shown(others)}: '
                         f'label {label} is {trained[label]!r} there and {others[label]!r} here; {remedy}')


def shown(names: Sequence[str]) -> str:
    return ', '.join(names[:SHOWN]) + (', …' if len(names) > SHOWN else '')
