"""Looks once at each image and mask of data, and the rules for what is seen; the second pass, after annotations."""
import json
import os
import os.path as osp
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import track

from mmvit_backbones.utils.file_access import replaced_when_complete
from mmvit_backbones.version import __version__

from ..utils.images import IGNORED, image_info, read_mask
from ..utils.shell import console_of
from .rules import HALF, Problem, Rule, apply, each

READERS = 16  # threads that read files
MANY = 200  # images or masks, of which a bar is shown
BLOCK = 2**22  # pixels
RARE = 0.01  # share of the labeled pixels
MAX_CLASSES = 255  # mmseg reads masks as 8-bit integers and ignores 255


class Raster(NamedTuple):
    """An image and its mask as the data name them.

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
    """Record of the files of a raster; ``labels`` has the pixels of each label, None without a usable mask.

    ``printed`` is what libjpeg says of damaged data.
    """

    raster: Raster
    fault: str
    size: tuple[int, int] | None
    mask_fault: str = ''
    mask_size: tuple[int, int] | None = None
    channels: int = 1
    labels: dict[int, int] | None = None
    pages: int = 1
    printed: str = ''

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
    """Record of the files of a part of the data.

    Args:
        seen (list[Seen]): What was seen.
        needs_labels (bool): Whether masks must have different labels. Defaults to False.
        names (Sequence[str]): Classes that the masks should have. Defaults to any.
    """

    seen: list[Seen]
    needs_labels: bool = False
    names: Sequence[str] = ()

    @cached_property
    def decoded(self) -> list[Seen]:
        """Returns the rasters with a mask whose labels are known."""
        return [seen for seen in self.seen if seen.labels is not None]

    @cached_property
    def rare(self) -> dict[int, float]:
        """Returns the labels of classes that few of the labeled pixels have, and their share."""
        pixels = Counter()
        for seen in self.decoded:
            pixels.update(seen.labels)
        total = pixels.total() - pixels[IGNORED]
        shares = {label: pixels[label] / max(total, 1) for label in range(len(self.names))}
        return {label: share for label, share in shares.items() if share < RARE} if self.needs_labels else {}


def seen_in(raster: Raster, decodes: bool = False) -> Seen:
    """Opens the image and the mask of a raster, each once; decodes the mask, and with ``decodes`` all images."""
    fault, size, pages = image_info(raster.image, decodes)
    if not raster.mask:
        return Seen(raster, fault, size, pages=pages)
    mask_fault, mask_size, values = read_mask(raster.mask)
    if values is None:
        return Seen(raster, fault, size, mask_fault, mask_size, pages=pages)
    channels = values.shape[2] if values.ndim > 2 else 1
    return Seen(raster, fault, size, mask_fault, mask_size, channels, _labels_in(values), pages)


def _labels_in(values: np.ndarray) -> dict[int, int] | None:
    if values.ndim > 2 and values.shape[2] > 1:
        return None
    if values.dtype == np.uint8:  # ten times as fast as np.unique; takes eight times the memory of a block
        flat = values.ravel()
        blocks = (flat[start:start + BLOCK] for start in range(0, flat.size, BLOCK))
        counts = np.sum([np.bincount(block, minlength=256) for block in blocks], axis=0)
        return {label: int(counts[label]) for label in np.flatnonzero(counts).tolist()}
    labels, counts = np.unique(values, return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist()))


def seen_in_all(rasters: Sequence[Raster]) -> list[Seen]:
    """Looks at all rasters, several at a time; shows a bar where there are many."""
    console = console_of(sys.stderr)
    with ThreadPoolExecutor(READERS) as pool:
        return list(track(pool.map(seen_in, rasters), 'reading images', len(rasters), console=console, transient=True,
                          disable=len(rasters) < MANY or not console.is_terminal))


class Remembered:
    """Images and masks that an earlier check found without fault, as long as their sizes and times are the same.

    Args:
        file (str | None): Where it is kept. Defaults to None: nowhere.
    """

    def __init__(self, file: str | None = None) -> None:
        self.file, self.known = file, {}
        if file:
            with suppress(OSError, ValueError, AttributeError):  # there is none, or it is of no use
                content = json.loads(Path(file).read_text(encoding='utf-8'))
                self.known = content['masks'] if content.get('version') == __version__ else {}

    def find(self, raster: Raster) -> Seen | None:
        """Returns what was seen in a raster with a mask, or None if a file is another one since."""
        found = self.known.get(osp.abspath(raster.mask)) if raster.mask else None
        if not isinstance(found, list) or found[:2] != _stamps(raster):
            return None
        size, mask_size, labels, pages = found[2:]
        return Seen(raster, '', tuple(size), '', tuple(mask_size), 1, dict(labels), pages)

    def add(self, seen: Iterable[Seen], stamps: Iterable[list]) -> None:
        """Remembers rasters with a mask, with their :func:`_stamps` before they were read, and writes the file."""
        new = {osp.abspath(each.raster.mask): [*stamp, each.size, each.mask_size, [*each.labels.items()], each.pages]
               for each, stamp in zip(seen, stamps) if each.raster.mask and each.size and each.labels is not None
               and each.channels == 1 and not each.fault and not each.mask_fault}
        if self.file and new:
            self.known.update(new)
            os.makedirs(osp.dirname(self.file), exist_ok=True)
            with replaced_when_complete(self.file) as part:
                part.write_text(json.dumps(dict(version=__version__, masks=self.known)), encoding='utf-8')


def _stamps(raster: Raster) -> list[list]:
    """Returns path, size and time of the image and of the mask."""
    stamps = []
    for path in raster.image, raster.mask:
        with suppress(OSError):
            found = os.stat(path)
            stamps.append([osp.abspath(path), found.st_size, found.st_mtime_ns])
    return stamps


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


def _labels(data: Rasters) -> set[int]:
    return {label for seen in data.decoded for label in seen.labels or ()} - {IGNORED}


def _missing_classes(data: Rasters) -> list[int]:
    labels = _labels(data)
    return [label for label in range(len(data.names)) if label not in labels and len(data.decoded) == len(data.seen)]


def _single_label(data: Rasters) -> list[int]:
    labels = _labels(data)
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
    Rule('classes of classes.txt that no mask has', 'names', _missing_classes,
         'no mask of the {detail} has the classes {ids}', 'warning', 'warning',
         detail=lambda data, i: 'training' if data.needs_labels else 'validation'),
    Rule('classes in less than 1 % of the labeled pixels', 'names', lambda data: data.rare,
         'less than 1 % of the labeled pixels are of each of these classes: {detail}', 'warning', '',
         detail=lambda data, i: ', '.join(f'{data.names[label]} {share:.2%}' for label, share in data.rare.items()
                                          if share)),
    Rule('JPEG files with damaged data, which OpenCV fills with gray', 'seen', each('seen', lambda seen: seen.printed),
         'image {detail}', 'warning', 'warning', each=True,
         detail=lambda data, i: f'{data.seen[i].raster.image}: {data.seen[i].printed}'),
    Rule('images of several pages', 'seen', each('seen', lambda seen: seen.pages > 1),
         'image {detail} pages, of which OpenMMLab reads the first; {count} of {total} images have several: save each '
         'page that is to be used as an image', 'warning', 'warning',
         detail=lambda data, i: f'{data.seen[i].raster.image} has {data.seen[i].pages}'),
]


@dataclass
class Looks:
    """Looks once at each raster of several parts of data.

    Args:
        seen_in_all (Callable): Looks at rasters. Defaults to :func:`seen_in_all`.
        lists_errors (bool): Whether errors have a line for each file. Defaults to False: where the rule says so.
        remembered (Remembered): What an earlier check has seen. Defaults to nothing.
    """

    seen_in_all: Callable[[Sequence[Raster]], Iterable[Seen]] = seen_in_all
    lists_errors: bool = False
    remembered: Remembered = field(default_factory=Remembered)
    seen: dict[Raster, Seen] = field(default_factory=dict)

    def at(self, rasters: Sequence[Raster]) -> list[Seen]:
        """Returns what is seen in rasters."""
        unknown = [raster for raster in dict.fromkeys(rasters) if raster not in self.seen]
        self.seen.update({raster: seen for raster in unknown if (seen := self.remembered.find(raster))})
        if new := [raster for raster in unknown if raster not in self.seen]:
            stamps = [_stamps(raster) if raster.mask else [] for raster in new]
            found = list(self.seen_in_all(new))
            self.seen.update(zip(new, found))
            self.remembered.add(found, stamps)
        return [self.seen[raster] for raster in rasters]

    def problems(self, rasters: Sequence[Raster], is_evaluated: bool, needs_labels: bool = False,
                 names: Sequence[str] = ()) -> list[Problem]:
        """Returns the problems of a part; the arguments are those of :class:`Rasters`."""
        seen = Rasters(self.at(rasters), needs_labels, names)
        return apply(RASTER_RULES, seen, is_evaluated, lists_errors=self.lists_errors)
