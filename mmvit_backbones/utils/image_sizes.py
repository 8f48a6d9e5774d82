"""Sizes of images, as people write them."""
from collections.abc import Sequence

from ..errors import UsageError


def height_and_width(size: int | Sequence[int], name: str = 'size') -> tuple[int, int]:
    """Returns height and width in pixels; one side means a square.

    Args:
        size (int | Sequence[int]): One side, or height and width.
        name (str): Name of the argument, for the error. Defaults to 'size'.

    Raises:
        UsageError: If ``size`` is something else.
    """
    sides: tuple = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else (size, )
    sides = 2 * sides if len(sides) == 1 else sides
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise UsageError(f'{name} must be a positive integer, or height and width, got {size}')
    return sides[0], sides[1]
