"""Checks masks of classes against their images."""
import numpy as np
from PIL import Image

from ..errors import UsageError
from ..utils.images import check_image, image_size, orientation_of
from .mistakes import check_share
from .text import IGNORED

MASKS_TO_CHECK = 100  # before a training, which should start soon


def check_labels(path: str, mask: np.ndarray, last: float) -> None:
    """Raises UsageError if a mask has several channels, or labels above the last class."""
    if mask.ndim > 2:
        raise UsageError(f'mask {path} has {mask.shape[2]} channels; allowed is one, the class index of each pixel')
    if wrong := [int(label) for label in np.unique(mask) if label > last and label != IGNORED]:
        raise UsageError(f'mask {path} has labels {wrong[:5]}; allowed are 0 to {last} and {IGNORED}')


def check_orientation(image: str, mask: str) -> None:
    """Raises UsageError if a mask has an EXIF orientation, or its image has one and the mask may not be rotated.

    mmseg applies the orientation to images, but not to masks. The check of sizes finds masks that are not rotated,
    unless width and height are equal or stay as they are.
    """
    if (rotated := _orientation(mask)[0]) != 1:
        raise UsageError(f'mask {mask} has the EXIF orientation {rotated}, which is not applied to masks; save it '
                         'rotated, without the tag')
    orientation, (width, height) = _orientation(image)
    if orientation in (2, 3, 4) or orientation > 4 and width == height:
        raise UsageError(f'image {image} has the EXIF orientation {orientation}, which is applied when it is read, but '
                         f'not to its mask {mask}; save the image rotated, without the tag (mogrify -auto-orient), or '
                         'remove the tag (exiftool -Orientation=), whichever fits the mask')


def _orientation(path: str) -> tuple[int, tuple[int, int]]:
    image_size(path)  # raises the error of a file that cannot be read
    with Image.open(path) as image:
        return orientation_of(image), image.size


def check_masks(pairs: dict[str, str], last: int, needs_labels: bool) -> None:
    """Checks masks, given as ``{image: mask}``, against their images and the labels 0 to ``last``.

    Reads 100 masks, and further ones until there are two labels.

    Raises:
        UsageError: If a mask has other labels or another orientation; if half of the masks have another size than their
            image, or only ignored pixels; with ``needs_labels``, if all masks have the same label.
    """
    images = list(pairs)
    step = -(-len(images) // MASKS_TO_CHECK)
    checked = images[::step] + [image for i, image in enumerate(images) if i % step]
    labels, wrong = set(), []
    for number, image in enumerate(checked):
        if number >= MASKS_TO_CHECK and len(labels) > 1:
            break  # with a single label so far, the others may have more
        mask = np.array(check_image(pairs[image]))
        check_labels(pairs[image], mask, last)
        check_orientation(image, pairs[image])
        size = image_size(image)[::-1]
        if mask.shape != size:
            wrong.append('{} has {} x {} pixels, its image {} x {}'.format(pairs[image], *mask.shape, *size))
        elif not (values := set(np.unique(mask).tolist()) - {IGNORED}):
            wrong.append(f'{pairs[image]} has only the ignored label {IGNORED}')
        else:
            labels |= values
    check_share(wrong, min(len(checked), MASKS_TO_CHECK), 'masks must have the size of their images, and labels')
    if len(labels) < 2 and needs_labels:
        raise UsageError(f'the masks of {images[0]} and the other images have only the labels {sorted(labels)}, so '
                         'that there is nothing to learn; the values of pixels must be class indices from 0')
