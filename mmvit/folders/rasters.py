"""Looks once at each image and mask of data, and the rules for what is seen; the second pass, after annotations."""
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import inf
from typing import NamedTuple

import numpy as np

from ..utils.images import IGNORED, look_at, read_mask
from .rules import HALF, Problem, Rule, apply, each

READERS = 16  # threads that read files
MASKS_TO_DECODE = 100  # keeps the start of training fast
MAX_CLASSES = 255  # mmseg reads masks as 8-bit integers and ignores 255


class Raster(NamedTuple):
    """What data say of an image.

    Args:
        image (str): Path of the image.
        size (tuple | None): Width and height in the annotations. Defaults to None: not stated.
        mask (str): Path of its mask. Defaults to none.
        last (float): Highest label in the mask. Defaults to any.
        has_run_lengths (bool): Whether masks of its objects are run lengths, which need the exact size.
    """

    image: str
    size: tuple[float, float] | None = None
    mask: str = ''
    last: float = inf
    has_run_lengths: bool = False


class Seen(NamedTuple):
    """What was seen in the files of a raster; ``labels`` is None for a mask that was not decoded."""

    raster: Raster
    fault: str
    size: tuple[int, int] | None
    mask_fault: str = ''
    mask_size: tuple[int, int] | None = None
    channels: int = 1
    labels: tuple[int, ...] | None = None
    pages: int = 1

    @property
    def has_other_size(self) -> bool:
        return None not in (self.size, self.raster.size) and self.size != self.raster.size

    @property
    def has_mask_of_other_size(self) -> bool:
        return None not in (self.size, self.mask_size) and self.size != self.mask_size

    @property
    def wrong_labels(self) -> list[int]:
        return [label for label in self.labels or ()
                if label != IGNORED and not (0 <= label <= self.raster.last and label % 1 == 0)]


@dataclass
class Rasters:
    """What was seen in the files of a part of the data; ``needs_labels``: masks must have different labels."""

    seen: list[Seen]
    needs_labels: bool = False

    @cached_property
    def decoded(self) -> list[Seen]:
        """Rasters with a mask whose labels are known."""
        return [seen for seen in self.seen if seen.labels is not None]


def look(raster: Raster, decodes: bool = False, decodes_mask: bool = True) -> Seen:
    """Opens the image and the mask of a raster, each once."""
    fault, size, pages = look_at(raster.image, decodes)
    if not raster.mask:
        return Seen(raster, fault, size, pages=pages)
    mask_fault, mask_size, values = read_mask(raster.mask, decodes_mask)
    if values is None:
        return Seen(raster, fault, size, mask_fault, mask_size, pages=pages)
    channels = values.shape[2] if values.ndim > 2 else 1
    return Seen(raster, fault, size, mask_fault, mask_size, channels, _labels_in(values), pages)


def labels_of(mask: str) -> tuple[int, ...] | None:
    """Returns the labels in a mask, or None if it cannot be read or has several channels."""
    values = read_mask(mask)[2]
    return None if values is None else _labels_in(values)


def _labels_in(values: np.ndarray) -> tuple[int, ...] | None:
    if values.ndim > 2:
        return tuple(np.unique(values).tolist()) if values.shape[2] == 1 else None
    if values.dtype == np.uint8:  # ten times as fast as np.unique
        return tuple(np.flatnonzero(np.bincount(values.ravel(), minlength=256)).tolist())
    return tuple(np.unique(values).tolist())


def look_at_all(rasters: Sequence[Raster]) -> list[Seen]:
    """Looks at all rasters; decodes at least 100 masks, evenly spread, and more until there are two labels."""
    step = -(-len(rasters) // MASKS_TO_DECODE) or 1
    order = [*range(0, len(rasters), step), *(i for i in range(len(rasters)) if i % step)]
    seen: dict[int, Seen] = {}
    if any(raster.mask for raster in rasters):
        labels: set[int] = set()
        for i in order:
            if len(seen) >= MASKS_TO_DECODE and len(labels) > 1:
                break
            seen[i] = look(rasters[i])
            labels |= set(seen[i].labels or ()) - {IGNORED}
    rest = [i for i in order if i not in seen]
    with ThreadPoolExecutor(READERS) as pool:
        seen.update(zip(rest, pool.map(partial(look, decodes_mask=False), [rasters[i] for i in rest])))
    return [seen[i] for i in range(len(rasters))]


def _sizes(data: Rasters, i: int) -> str:
    seen = data.seen[i]
    assert seen.size and seen.raster.size
    return (f'{seen.raster.image} has {seen.size[0]} x {seen.size[1]} pixels, but the annotations say '
            f'{seen.raster.size[0]} x {seen.raster.size[1]} (width x height)')


def _mask_sizes(data: Rasters, i: int) -> str:
    seen = data.seen[i]
    assert seen.size and seen.mask_size
    return (f'mask {seen.raster.mask} has {seen.mask_size[0]} x {seen.mask_size[1]} pixels, but its image has '
            f'{seen.size[0]} x {seen.size[1]} (width x height)')


def _label_range(data: Rasters, i: int) -> str:
    seen = data.decoded[i]
    return f'mask {seen.raster.mask} has labels {seen.wrong_labels[:5]}; allowed are 0 to {seen.raster.last}'


def _single_label(data: Rasters) -> list[int]:
    labels = {label for seen in data.decoded for label in seen.labels or ()} - {IGNORED}
    return list(range(len(data.decoded))) if data.needs_labels and len(labels) < 2 else []


def _only_label(data: Rasters, i: int) -> str:
    return f'{sorted({*(data.decoded[i].labels or ())} - {IGNORED})}, e.g. {data.decoded[i].raster.mask}'


SIZES = 'correct the sizes in the annotations, and the boxes if they were drawn for those sizes'
RASTER_RULES = [
    Rule('images that are cut off, no images, or have floating-point or 32-bit pixels', 'seen',
         each('seen', lambda seen: seen.fault), '{detail}', each=True, detail=lambda data, i: data.seen[i].fault),
    Rule('sizes that differ from the image, if it has run lengths', 'seen',
         each('seen', lambda seen: seen.has_other_size and seen.raster.has_run_lengths),
         '{detail}; its run lengths are of no use then', each=True, detail=_sizes),
    Rule('sizes that differ from the image', 'seen',
         each('seen', lambda seen: seen.has_other_size and not seen.raster.has_run_lengths),
         f'{{detail}}; {{count}} of {{total}} images have another size: {SIZES}', 'warning', 'warning', HALF,
         detail=_sizes),
    Rule('masks that are cut off, no images, or have more than 179 million pixels', 'seen',
         each('seen', lambda seen: seen.mask_fault), '{detail}', each=True,
         detail=lambda data, i: data.seen[i].mask_fault),
    Rule('masks with several channels', 'seen', each('seen', lambda seen: seen.channels > 1), '{detail}', each=True,
         detail=lambda data, i: f'mask {data.seen[i].raster.mask} must have one channel with the class index of each '
                                f'pixel, got {data.seen[i].channels}'),
    Rule('labels above the last class, or no whole numbers', 'decoded',
         each('decoded', lambda seen: seen.wrong_labels), f'{{detail}} and {IGNORED}', each=True,
         detail=_label_range),
    Rule('masks of another size than their image', 'seen', each('seen', lambda seen: seen.has_mask_of_other_size),
         '{detail}; {count} of {total} masks have another size than their image, which evaluation does not allow',
         'warning', 'error', HALF, detail=_mask_sizes),
    Rule(f'masks with only the ignored label {IGNORED}', 'decoded',
         each('decoded', lambda seen: set(seen.labels or ()) == {IGNORED}),
         f'mask {{detail}} has only the ignored label {IGNORED}; {{count}} of {{total}} masks have no other',
         'warning', 'warning', HALF, detail=lambda data, i: data.decoded[i].raster.mask),
    Rule('the same label in all masks', 'decoded', _single_label,
         'all masks have only the labels {detail}; pixel values must be class indices from 0, with at least two '
         'different classes', evaluation='', detail=_only_label),
    Rule('images of several pages', 'seen', each('seen', lambda seen: seen.pages > 1),
         'image {detail} pages, of which OpenMMLab reads the first; {count} of {total} images have several: save each '
         'page that is to be used as an image', 'warning', 'warning',
         detail=lambda data, i: f'{data.seen[i].raster.image} has {data.seen[i].pages}'),
]


@dataclass
class Looks:
    """Looks once at each raster of several parts of data.

    Args:
        look_at_all (Callable): Looks at rasters. Defaults to :func:`look_at_all`.
        lists_errors (bool): Whether errors have a line for each file. Defaults to False: where the rule says so.
    """

    look_at_all: Callable[[Sequence[Raster]], Iterable[Seen]] = look_at_all
    lists_errors: bool = False
    seen: dict[Raster, Seen] = field(default_factory=dict)

    def problems(self, rasters: Sequence[Raster], is_evaluated: bool, needs_labels: bool = False) -> list[Problem]:
        """Returns the problems of a part; ``needs_labels``: its masks must have different labels."""
        new = [raster for raster in dict.fromkeys(rasters) if raster not in self.seen]
        self.seen.update(zip(new, self.look_at_all(new)))
        seen = Rasters([self.seen[raster] for raster in rasters], needs_labels)
        return apply(RASTER_RULES, seen, is_evaluated, lists_errors=self.lists_errors)
