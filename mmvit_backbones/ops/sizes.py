"""Arithmetic of sizes with which one graph serves images of all sizes.

``torch.compile`` and ``torch.export`` keep sizes symbolic. Where Python compares two of them, torch records the answer
as a condition of the graph, and compiles again, or refuses, where an image has another answer. And where a size comes
from ``min``, ``max``, a slice or a fraction of fractions, later sizes are expressions that torch cannot show to be
equal. Networks therefore compare and round sizes by these functions alone.
"""
import torch

from ..utils import versions


def may_be_nonzero(*numbers: int) -> bool:
    """Returns whether any number is not 0; in a graph, where images of other sizes may come, always True."""
    return versions.is_compiling() or any(numbers)


def is_positive(size: int) -> int:
    """Returns 1 for a positive size and 0 for a size of 0, as a factor of other sizes."""
    if isinstance(size, torch.SymInt):
        return torch.sym_min(size, 1)  # pyright: ignore[reportReturnType] - torch does not say: of integers, one
    return min(size, 1)


def at_least(size: int, limit: int) -> int:
    """Returns the larger of the two."""
    if isinstance(size, torch.SymInt):
        return torch.sym_max(size, limit)  # pyright: ignore[reportReturnType] - torch does not say: of integers, one
    return max(size, limit)


def ceil_div(length: int, divisor: int) -> int:
    """Returns ``length / divisor``, rounded up.

    In this form, a length that is halved from stage to stage remains one fraction, ``-length // 2 ** n``.
    """
    return -(-length // divisor)


def to_multiple(length: int, multiple: int) -> int:
    """Returns the length, rounded up to a multiple."""
    return ceil_div(length, multiple) * multiple


def count_windows(length: int, window_size: int) -> int:
    """Returns how many windows cover a length.

    This is :func:`ceil_div` without negative numbers, for sizes that are divided by ``window_size`` again: torch
    simplifies such quotients of negative numbers wrongly.
    """
    return (length + window_size - 1) // window_size
