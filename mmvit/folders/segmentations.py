"""Checks the masks of objects in COCO files, which are polygons or run lengths.

pycocotools checks neither: with run lengths that add up to less than the image, its IoU does not end.
"""
from math import isfinite
from typing import Any, NamedTuple

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
    is_bare = not any(isinstance(each, (list, dict, str)) for each in segmentation)
    polygons = [segmentation] if is_bare else segmentation
    reasons = [polygon_error(polygon) for polygon in polygons]
    if not any(reasons):
        return Usable(polygons, ['a mask must be a list of polygons, got the numbers of one'] if is_bare else [])
    kept = [polygon for polygon, reason in zip(polygons, reasons) if not reason]
    return Usable(kept or None, [reason for reason in reasons if reason])


def polygon_error(polygon: Any) -> str:
    """Returns why a polygon ``[x1, y1, x2, y2, ...]`` cannot be used, or an empty string if it can."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 or isinstance(polygon[0], (list, dict)):
        return f'a polygon must be a list of x1, y1, x2, y2, ... of at least three points, got {polygon!r:.40}'
    if not are_numbers(polygon):
        return 'a polygon must have finite numbers'
    if max(map(abs, polygon)) > MAX_COORDINATE:
        return f'a polygon must have coordinates from {-MAX_COORDINATE} to {MAX_COORDINATE}'
    return ''


def are_numbers(values: object) -> bool:
    """Returns whether a value is a list of finite numbers."""
    try:
        return isinstance(values, list) and isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


def _usable_run_lengths(segmentation: dict, height: int, width: int) -> Usable:
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if not isinstance(size, list) or size != [height, width]:
        return Usable(None, [f'run lengths must be for the size of the image, {height} x {width} (height x width), '
                             f'got {size!r:.40}'])
    if isinstance(counts, str):
        lengths = decode_run_lengths(counts)
        if lengths is None:
            return Usable(None, ['the string of compressed run lengths is damaged'])
    elif isinstance(counts, list) and all(_is_whole(count) for count in counts):
        lengths = [int(count) for count in counts]
    else:
        return Usable(None, ['run lengths must be a string, or a list of whole numbers'])
    total, is_negative = sum(lengths), any(length < 0 for length in lengths)
    if total != height * width or is_negative:
        given = 'negative ones' if is_negative else 'more' if total > height * width else total
        return Usable(None, [f'run lengths must add up to {height} x {width} = {height * width}, got {given}'])
    used = dict(size=[height, width], counts=counts if isinstance(counts, str) else lengths)
    is_whole = all(type(number) is int for number in (*size, *(() if isinstance(counts, str) else counts)))
    return Usable(segmentation if is_whole else used, [])


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or isinstance(value, float) and value.is_integer()


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
