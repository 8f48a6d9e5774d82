"""Looks at each image and mask of data, and the rules for what is seen; the second pass, after annotations."""
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from math import inf
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError
from rich.progress import track

from mmvit_backbones.errors import first_line

from ..utils.shell import console_of
from .images import IGNORED, image_info
from .rules import ADD_SOME, HALF, RARELY, Problem, Rule, apply, each, rare, suspicion

T = TypeVar('T')
READERS = 16  # threads that read files
MANY = 200  # images or masks, of which a bar is shown
IMAGES_TO_CHECK = 100  # of a config's data set, which keeps the start of a training fast


class Raster(NamedTuple):
    """An image and its mask as the data name them.

    Args:
        image (str): Path of the image.
        size (tuple | None): Width and height in the annotations. Defaults to None: not stated.
        mask (str): Path of its mask. Defaults to none.
        last (float): Highest label in the mask. Defaults to any.
        ignored (int): Label of pixels that have no class. Defaults to 255.
    """

    image: str
    size: tuple[float, float] | None = None
    mask: str = ''
    last: float = inf
    ignored: int = IGNORED


class Seen(NamedTuple):
    """Record of the files of a raster; ``labels`` counts those in the mask, None without a usable mask."""

    raster: Raster
    fault: str
    size: tuple[int, int] | None
    mask_fault: str = ''
    mask_size: tuple[int, int] | None = None
    channels: int = 1
    labels: dict[Any, int] | None = None

    @property
    def pixels(self) -> dict[Any, int]:
        """Returns how many pixels have each label but the ignored one."""
        return {label: count for label, count in (self.labels or {}).items() if label != self.raster.ignored}

    @property
    def wrong_labels(self) -> list[int]:
        return [label for label in self.pixels if not (0 <= label <= self.raster.last and label % 1 == 0)]


@dataclass
class Rasters:
    """Record of the files of a part of the data, and the classes that its masks should have."""

    seen: list[Seen]
    names: Sequence[str] = ()
    part: str = 'training'

    @cached_property
    def decoded(self) -> list[Seen]:
        """Returns the rasters with a mask whose labels are known."""
        return [seen for seen in self.seen if seen.labels is not None]

    @cached_property
    def pixels(self) -> Counter:
        """Returns how many pixels of all masks have each label but the ignored one."""
        counts: Counter = Counter()
        for seen in self.seen:
            counts.update(seen.pixels)
        return counts


def raster_problems(rasters: Sequence[Raster], is_evaluated: bool, names: Sequence[str] = (), is_full: bool = False
                    ) -> list[Problem]:
    """Returns the problems in the images and masks of a part of the data.

    Args:
        rasters (Sequence[Raster]): The images and masks.
        is_evaluated (bool): Whether they are for evaluation rather than training.
        names (Sequence[str]): Classes that the masks, if there are any, should have. Defaults to any.
        is_full (bool): Whether to decode all images, and to list all errors. Defaults to False.
    """
    seen = read_all(partial(seen_in, decodes=is_full), rasters)
    data = Rasters(seen, names if any(raster.mask for raster in rasters) else (),
                   'validation' if is_evaluated else 'training')
    return apply(RASTER_RULES, data, is_evaluated, lists_errors=is_full)


def read_all(read: Callable[[T], Any], files: Collection[T]) -> list:
    """Returns what a function reads of files, several at a time; shows a bar where there are many."""
    console = console_of(sys.stderr)
    with ThreadPoolExecutor(READERS) as pool:
        return list(track(pool.map(read, files), 'reading data', len(files), console=console, transient=True,
                          disable=len(files) < MANY or not console.is_terminal))


def seen_in(raster: Raster, decodes: bool = False) -> Seen:
    """Opens the image and the mask of a raster, each once; decodes the mask, and with ``decodes`` all images."""
    fault, size, _ = image_info(raster.image, decodes)
    if not raster.mask:
        return Seen(raster, fault, size)
    try:
        with Image.open(raster.mask) as mask:  # as mmseg does
            labels = None
            if mask.mode in ('L', 'P'):
                labels = {label: count for label, count in enumerate(mask.histogram()) if count}
            elif len(mask.getbands()) == 1:
                labels = dict(zip(*(found.tolist() for found in np.unique(np.array(mask), return_counts=True))))
            return Seen(raster, fault, size, '', mask.size, len(mask.getbands()), labels)
    except Exception as error:  # Pillow raises any exception for damaged files
        reason = 'it is not an image' if isinstance(error, UnidentifiedImageError) else first_line(error)
        return Seen(raster, fault, size, f'mask {raster.mask} cannot be read: {reason}')


def sample_of(rasters: Sequence[Raster], is_tested: bool = False) -> list[Raster]:
    """Returns the rasters of a config's data set at which a run looks before its first step.

    They are up to 100, evenly spaced, and in a test all masks, as mmseg drops wrong labels from the figures without a
    word.
    """
    step = -(-len(rasters) // IMAGES_TO_CHECK) or 1
    return [raster for i, raster in enumerate(rasters)
            if i % step == 0 or is_tested and raster.mask]


def _differ(size: tuple | None, other: tuple | None) -> bool:
    """Returns whether two sizes are known and differ."""
    return None not in (size, other) and size != other


def _sizes(data: Rasters, i: int) -> str:
    seen = data.seen[i]
    return (f'{seen.raster.image} has {_pixels(seen.size)}, but the annotations say {_pixels(seen.raster.size)} (width '
            'x height)')


def _mask_sizes(data: Rasters, i: int) -> str:
    seen = data.seen[i]
    return (f'mask {seen.raster.mask} has {_pixels(seen.mask_size)}, but its image has {_pixels(seen.size)} (width x '
            'height)')


def _pixels(size: tuple[float, float] | None) -> str:
    return ' x '.join(map(str, size or ())) + ' pixels'


def _label_range(data: Rasters, i: int) -> str:
    raster = data.decoded[i].raster
    return (f'mask {raster.mask} has labels {data.decoded[i].wrong_labels[:5]}; allowed are 0 to {raster.last} and '
            f'{raster.ignored}')


def _missing_classes(data: Rasters) -> list[int]:
    is_known = len(data.decoded) == len(data.seen)
    return [label for label in range(len(data.names) if is_known else 0) if label not in data.pixels]


def _rare_classes(data: Rasters) -> list[int]:
    masks = Counter(label for seen in data.seen for label in seen.pixels)
    return rare(masks, data.pixels, range(len(data.names)))


def _only_label(data: Rasters, i: int) -> str:
    return f'{sorted(data.pixels)}, e.g. {data.decoded[i].raster.mask}'


# A comment says what happens without the rule in OpenMMLab.
RASTER_RULES = [
    # DataLoader's traceback does not name a mask; OpenCV fills cut-off JPEG files with gray, float values become black
    Rule('images that are cut off, no images, or have floating-point or 32-bit pixels', 'seen',
         each('seen', lambda seen: seen.fault), '{detail}', each=True, detail=lambda data, i: data.seen[i].fault),
    # boxes are taken for those of the image as it is; run lengths: an assertion of the shape of the mask
    suspicion('sizes that differ from the image', 'seen',
              each('seen', lambda seen: _differ(seen.size, seen.raster.size)),
              '{detail}; {count} of {total} images have another size: correct the sizes in the annotations, and the '
              'boxes if they were drawn for those sizes', detail=_sizes),
    Rule('masks that are cut off, no images, or have more than 179 million pixels', 'seen',
         each('seen', lambda seen: seen.mask_fault), '{detail}', each=True,
         detail=lambda data, i: data.seen[i].mask_fault),
    # an error of the loss about its shape, which does not name the mask
    Rule('masks with several channels', 'seen',
         each('seen', lambda seen: seen.channels > 1), '{detail}', each=True,
         detail=lambda data, i: f'mask {data.seen[i].raster.mask} must have one channel with the class index of each '
                                f'pixel, got {data.seen[i].channels}'),
    # an error of the loss, on GPUs of the device; mmseg's metrics leave out such pixels
    Rule('labels above the last class, or no whole numbers', 'decoded',
         each('decoded', lambda seen: seen.wrong_labels), '{detail}', each=True, detail=_label_range),
    # mmsegmentation#2763, #3469: an error after the first epoch; a training resizes and crops them
    Rule('masks of another size than their image', 'seen',
         each('seen', lambda seen: _differ(seen.size, seen.mask_size)),
         '{detail}; {count} of {total} masks have another size than their image, which evaluation does not allow',
         'warning', 'error', HALF, detail=_mask_sizes),
    # masks of 0 and 255 in place of 0 and 1 are learned as one class
    Rule('the same label in all masks', 'decoded',
         lambda data: range(len(data.decoded) if data.names and len(data.pixels) < 2 else 0),
         'all masks have only the labels {detail}; pixel values must be class indices from 0, with at least two '
         'different classes', evaluation='', detail=_only_label),
    # a line too many in classes.txt, or labels from 1, give classes the names of others
    suspicion('classes of classes.txt that no mask has', 'names', _missing_classes,
              'no {data.part} mask has the classes {ids}', None),
    # the class is hardly ever predicted
    Rule(f'classes {RARELY}', 'names', _rare_classes, f'{{count}} of {{total}} classes {ADD_SOME}', 'warning', ''),
]
