"""Arithmetic of tensor sizes that keeps a compiled graph valid for images of all sizes.

``torch.compile`` and ``torch.export`` keep sizes symbolic. If Python compares two symbolic sizes, torch adds a guard to
the graph. An image that violates the guard causes a recompilation or an error. If sizes are computed by ``min``,
``max``, slices or nested divisions, torch often can't prove that two of them are equal. Networks therefore round and
limit sizes with these functions.
"""
import torch

from ..utils import versions


def may_be_nonzero(*numbers: int) -> bool:
    """Returns whether any number is nonzero. Always True in graphs, which must be valid for other image sizes, too."""
    return versions.is_compiling() or any(numbers)


def is_positive(size: int) -> int:
    """Returns 1 for a positive size and 0 for a size of 0, without adding a guard."""
    if isinstance(size, torch.SymInt):
        return torch.sym_min(size, 1)  # pyright: ignore[reportReturnType] - the minimum of integers is an integer
    return min(size, 1)


def at_least(size: int, limit: int) -> int:
    """Returns the larger of ``size`` and ``limit``."""
    if isinstance(size, torch.SymInt):
        return torch.sym_max(size, limit)  # pyright: ignore[reportReturnType] - the maximum of integers is an integer
    return max(size, limit)


def ceil_div(length: int, divisor: int) -> int:
    """Returns ``length / divisor`` rounded up.

    If each of n stages halves a length, torch simplifies this expression to one division, ``-(-length // 2 ** n)``.
    """
    return -(-length // divisor)


def to_multiple(length: int, multiple: int) -> int:
    """Returns ``length`` rounded up to a multiple of ``multiple``."""
    return ceil_div(length, multiple) * multiple


def count_windows(length: int, window_size: int) -> int:
    """Returns the number of windows that cover a length.

    The result is the same as that of :func:`ceil_div`. Negative numbers are avoided, because torch wrongly simplifies
    their quotients if these are divided by ``window_size`` again.
    """
    return (length + window_size - 1) // window_size
