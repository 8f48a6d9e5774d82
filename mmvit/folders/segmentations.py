"""Checks the masks of objects in COCO files, which are polygons or run lengths.

pycocotools checks neither: with run lengths that add up to less than the image, its IoU does not end.
"""
from math import isfinite
from typing import Any, NamedTuple, TypeGuard

import numpy as np

MAX_COORDINATE = 2**16  # of a point; pycocotools allocates memory in proportion to the perimeter of a polygon
MAX_DIGITS = 7  # of a run length with 5 bits each


class Usable(NamedTuple):
    """The parts of a mask that can be used, or None, and a reason for each part that cannot."""

    usable: list | dict | None
    reasons: list[str]


def is_given(segmentation: Any) -> bool:
    """Returns whether a value of ``segmentation`` has anything in it; some tools write ``[[]]`` for boxes."""
    return any(segmentation) if isinstance(segmentation, list) else bool(segmentation)


def usable_segmentation(segmentation: Any, height: int, width: int) -> Usable:
    """Returns the parts of an object's mask that mmdet and pycocotools can use.

    The result is the argument itself if nothing has to be changed.

    Args:
        segmentation (Any): Value of ``segmentation`` in a COCO annotation, or None.
        height, width (int): Size of the image.
    """
    if not segmentation:
        return Usable(None, [])
    if isinstance(segmentation, dict):
        return _usable_run_lengths(segmentation, height, width)
    if not isinstance(segmentation, list):
        return Usable(None, [f'a mask must be polygons or run lengths, got a {type(segmentation).__name__}'])
    polygons = segmentation if any(isinstance(each, (list, dict, str)) for each in segmentation) else [segmentation]
    reasons = [polygon_error(polygon) for polygon in polygons]
    if not any(reasons) and polygons is segmentation:
        return Usable(segmentation, [])
    kept = [polygon for polygon, reason in zip(polygons, reasons) if not reason]
    return Usable(kept or None, [reason for reason in reasons if reason])


def polygon_error(polygon: Any) -> str:
    """Returns why a polygon ``[x1, y1, x2, y2, ...]`` cannot be used, or an empty string if it can."""
    if not isinstance(polygon, list):
        return f'a polygon must be a list of numbers, got a {type(polygon).__name__}'
    if any(isinstance(value, (list, dict, str)) for value in polygon[:1]) or len(polygon) == 2:
        return ('a polygon must be one list of numbers x1, y1, x2, y2, ... with at least three points, got '
                f'{polygon!r:.40}')
    if len(polygon) < 6:
        return f'a polygon must have at least three points, got {len(polygon)} numbers'
    if len(polygon) % 2:
        return f'a polygon must have x and y of each point, got {len(polygon)} numbers'
    try:
        is_finite = isfinite(sum(polygon))
    except (TypeError, OverflowError):
        is_finite = False
    if not is_finite:
        return 'a polygon must have finite numbers'
    if max(polygon) > MAX_COORDINATE or min(polygon) < -MAX_COORDINATE:
        return f'a polygon must have coordinates from {-MAX_COORDINATE} to {MAX_COORDINATE}'
    return ''


def _usable_run_lengths(segmentation: dict, height: int, width: int) -> Usable:
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if not isinstance(size, list) or size != [height, width]:
        given = ' x '.join(map(str, size)) if _are_whole(size) else 'no valid size'
        return Usable(None, [f'run lengths must be for the size of the image, {height} x {width} (height x width), '
                             f'got {given:.40}'])
    if isinstance(counts, str):
        lengths = decode_run_lengths(counts)
        if lengths is None:
            return Usable(None, ['the string of compressed run lengths is damaged'])
    elif _are_whole(counts):
        lengths = [int(count) for count in counts]
    else:
        return Usable(None, ['run lengths must be a string, or a list of whole numbers'])
    if any(length < 0 for length in lengths):
        return Usable(None, ['run lengths must not be negative'])
    if (total := sum(lengths)) != height * width:
        given = 'more' if total > height * width else total
        return Usable(None, [f'run lengths must add up to {height} x {width} = {height * width}, got {given}'])
    if type(size[0]) is type(size[1]) is int and (isinstance(counts, str) or counts == lengths and all(
            type(count) is int for count in counts)):
        return Usable(segmentation, [])
    return Usable(dict(size=[height, width], counts=counts if isinstance(counts, str) else lengths), [])


def _are_whole(values: object) -> TypeGuard[list]:
    return isinstance(values, list) and all(
        isinstance(value, int) or isinstance(value, float) and value.is_integer() for value in values)


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
