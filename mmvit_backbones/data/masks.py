"""Checks masks of classes against their images."""
import numpy as np
from PIL import Image

from ..errors import UsageError
from ..utils.images import check_image, image_size, orientation_of
from .mistakes import check_share
from .text import IGNORED

MASKS_TO_CHECK = 100  # before a training; more would take long


def check_labels(path: str, mask: np.ndarray, last: float) -> None:
    """Raises UsageError if a mask has several channels, or labels above the last class."""
    if mask.ndim > 2:
        raise UsageError(f'mask {path} has {mask.shape[2]} channels; allowed is one, with the class of each pixel')
    if wrong := [int(label) for label in np.unique(mask) if label > last and label != IGNORED]:
        raise UsageError(f'mask {path} has labels {wrong[:5]}; allowed are 0 to {last} and {IGNORED}')


def check_orientation(image: str, mask: str) -> None:
    """Raises UsageError if EXIF turns an image, and nothing tells that its mask is turned.

    mmseg turns images by EXIF when it reads them, but no masks. Sizes tell, unless they are equal before and after.
    """
    if (turned := _orientation(mask)[0]) != 1:
        raise UsageError(f'mask {mask} has the orientation {turned} in EXIF, which is not applied to masks; save it '
                         'turned, without the tag')
    orientation, (width, height) = _orientation(image)
    if orientation in (2, 3, 4) or orientation > 4 and width == height:
        raise UsageError(f'image {image} has the orientation {orientation} in EXIF, by which it is turned when it is '
                         f'read, and its mask {mask} has not; save the image turned, without the tag (mogrify '
                         '-auto-orient), or remove the tag (exiftool -Orientation=), whichever fits the mask')


def _orientation(path: str) -> tuple[int, tuple[int, int]]:
    image_size(path)  # raises the error of a file that cannot be read
    with Image.open(path) as image:
        return orientation_of(image), image.size


def check_masks(pairs: dict[str, str], last: int, needs_labels: bool) -> None:
    """Checks the masks of images, of the files ``{image: mask}``, against their images and the labels 0 to ``last``.

    It reads 100 of them, and more until one label is found in addition to the first.

    Raises:
        UsageError: If a mask has other labels or another orientation, if half of those checked are of another size than
            their image or have nothing to learn, or if all have one label and ``needs_labels``.
    """
    images = list(pairs)
    step = -(-len(images) // MASKS_TO_CHECK)
    checked = images[::step] + [image for i, image in enumerate(images) if i % step]
    labels, wrong = set(), []
    for number, image in enumerate(checked):
        if number >= MASKS_TO_CHECK and len(labels) > 1:
            break  # otherwise what is left may have something to learn
        mask = np.array(check_image(pairs[image]))
        check_labels(pairs[image], mask, last)
        check_orientation(image, pairs[image])
        size = image_size(image)[::-1]
        if mask.shape != size:
            wrong.append('{} is of {} x {} pixels, its image of {} x {}'.format(pairs[image], *mask.shape, *size))
        elif not (values := set(np.unique(mask).tolist()) - {IGNORED}):
            wrong.append(f'{pairs[image]} is {IGNORED} everywhere, which is ignored')
        else:
            labels |= values
    check_share(wrong, min(len(checked), MASKS_TO_CHECK), 'masks have the size of their images, and labels to learn')
    if len(labels) < 2 and needs_labels:
        raise UsageError(f'the masks of {images[0]} and the other images have only the labels {sorted(labels)}, so '
                         'that there is nothing to learn; the values of pixels are class indices from 0')
