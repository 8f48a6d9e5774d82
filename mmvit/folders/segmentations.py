"""Checks the masks of objects in COCO files, which are polygons or run lengths.

pycocotools checks neither: with run lengths that add up to less than the image, its IoU does not end.
"""
from math import isfinite
from typing import Any

import numpy as np

MAX_COORDINATE = 2**16  # of a point; pycocotools allocates memory in proportion to the perimeter of a polygon
MAX_DIGITS = 7  # of a run length with 5 bits each


def is_given(segmentation: Any) -> bool:
    """Returns whether a value of ``segmentation`` has anything in it; some tools write ``[[]]`` for boxes."""
    return any(segmentation) if isinstance(segmentation, list) else bool(segmentation)


def mask_box(segmentation: Any, height: int, width: int) -> list[float]:
    """Returns the bounding box x1, y1, x2, y2 of an object's mask, in pixels.

    Args:
        segmentation (Any): Value of ``segmentation`` in a COCO annotation, or None.
        height, width (int): Size of the image.

    Raises:
        ValueError: If mmdet or pycocotools cannot use the mask; the message says why.
    """
    if not is_given(segmentation):
        raise ValueError('it has none')
    if isinstance(segmentation, dict):
        return _box_of_run_lengths(segmentation, height, width)
    if not isinstance(segmentation, list) or not all(isinstance(polygon, list) for polygon in segmentation):
        raise ValueError(f'a mask must be a list of polygons, or run lengths, got {segmentation!r:.40}')
    if wrong := [polygon for polygon in segmentation if len(polygon) % 2 or not are_numbers(polygon)
                 or max(map(abs, polygon), default=0) > MAX_COORDINATE]:
        raise ValueError('a polygon must be a list of x1, y1, x2, y2, ... with numbers from '
                         f'{-MAX_COORDINATE} to {MAX_COORDINATE}, got {wrong[0]!r:.40}')
    if len(segmentation[0]) < 6:  # pycocotools takes four numbers for a box; mmdet and it ignore such polygons later on
        raise ValueError(f'the first polygon must have at least three points, got {segmentation[0]!r:.40}')
    points = [polygon for polygon in segmentation if len(polygon) >= 6]
    x, y = [value for polygon in points for value in polygon[::2]], [value for each in points for value in each[1::2]]
    return [min(x), min(y), max(x), max(y)]


def are_numbers(values: object) -> bool:
    """Returns whether a value is a list of finite numbers."""
    try:
        return isinstance(values, list) and isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


def _box_of_run_lengths(mask: Any, height: int, width: int) -> list[float]:
    from pycocotools.mask import frPyObjects, toBbox
    size, counts = mask.get('size'), mask.get('counts')
    if not isinstance(size, list) or size != [height, width]:
        raise ValueError(f'run lengths must be for the size of the image, {height} x {width} (height x width), got '
                         f'{size!r:.40}')
    lengths = decode_run_lengths(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not all(type(length) is int for length in lengths):
        raise ValueError('run lengths must be a list of whole numbers, or an undamaged string')
    total, wanted = sum(lengths), height * width
    if total != wanted or min(lengths) < 0:
        raise ValueError(f'run lengths must be at least 0 and add up to {height} x {width} = {wanted}, got '
                         f'{"more" if total > wanted else total}')
    x, y, columns, rows = toBbox(mask if isinstance(counts, str) else frPyObjects(mask, height, width)).tolist()
    return [x, y, x + columns, y + rows]


def decode_run_lengths(text: str) -> list[int] | None:
    """Returns the run lengths in a compressed string, or None if the string is damaged.

    A character has five bits of a number, lowest first, and a bit that says whether the number continues. The fourth
    and later numbers are differences from the number two places before; they may be negative.
    """
    codes = np.array([ord(character) for character in text], dtype=np.int64) - 48
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(~codes & 32)
    starts = np.concatenate([[0], ends[:-1] + 1])
    digits = ends - starts + 1
    if digits.max() > MAX_DIGITS:
        return None
    places = np.arange(codes.size) - np.repeat(starts, digits)
    values = np.add.reduceat((codes & 31) << (5 * places), starts)
    values -= np.where(codes[ends] & 16, 1 << (5 * digits), 0)  # the highest bit is the sign
    values[1::2], values[2::2] = np.cumsum(values[1::2]), np.cumsum(values[2::2])
    return values.tolist()
