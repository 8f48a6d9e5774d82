"""Finds weights that are NaN or infinite."""
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

MAX_DEPTH = 6  # an optimizer's state is on the fourth level; a dict in a file may contain itself


def first_not_finite(values: Mapping) -> str | None:
    """Returns the name of the first tensor with a value that is NaN or infinite, and which; None if there is none.

    Args:
        values (Mapping): Tensors by name, such as a state dict, or dicts and lists of them, such as an optimizer's.
            Masks of zeros and minus infinity are as they should be.
    """
    for name, tensor in _tensors(values.items()):
        if not tensor.is_floating_point() or tensor.is_meta:
            continue
        tensor = tensor.detach()
        if tensor.element_size() == 1:  # the 8-bit types have few operators
            tensor = tensor.float()
        if not torch.isfinite(tensor).all() and not _is_mask(tensor):
            return f'{name} has {"NaN" if tensor.isnan().any() else "inf"}'
    return None


def _is_mask(tensor: Tensor) -> bool:
    zero = tensor == 0
    return bool(zero.any() and (zero | tensor.isneginf()).all())


def _tensors(items: Iterable, path: str = '', depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    for key, value in items if depth < MAX_DEPTH else ():
        name = f'{path}.{key}'.lstrip('.')
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _tensors(value.items(), name, depth + 1)
        elif isinstance(value, list | tuple):
            yield from _tensors(enumerate(value), name, depth + 1)
