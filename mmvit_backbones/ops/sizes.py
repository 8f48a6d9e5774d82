"""Arithmetic of tensor sizes that keeps a compiled graph valid for images of all sizes.

``torch.compile`` and ``torch.export`` keep sizes symbolic. If Python compares two symbolic sizes, torch adds a guard to
the graph. An image that violates the guard causes a recompilation or an error. If sizes are computed by ``min``,
``max``, slices or nested divisions, torch often can't prove that two of them are equal. Networks therefore round and
limit sizes with these functions.
"""


def is_positive(size: int) -> int:
    """Returns 1 for a positive size and 0 for a size of 0, without a comparison, which would add a guard."""
    return 1 - 1 // (size + 1)


def at_least_one(size: int) -> int:
    """Returns 1 for a size of 0, and other sizes unchanged."""
    return size + 1 - is_positive(size)


def ceil_div(length: int, divisor: int) -> int:
    """Returns ``length / divisor`` rounded up; the length is at least 1.

    Convolutions compute their sizes in the same way, so that torch can prove them equal. If each of n stages halves a
    length, torch simplifies this expression to one division, ``(length - 1) // 2 ** n + 1``.
    """
    return (length - 1) // divisor + 1


def to_multiple(length: int, multiple: int) -> int:
    """Returns ``length`` rounded up to a multiple of ``multiple``."""
    return ceil_div(length, multiple) * multiple
