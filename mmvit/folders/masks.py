"""Checks semantic segmentation masks against their images."""
import numpy as np

from mmvit_backbones.errors import UsageError

from ..utils.images import check_image, image_size
from .problems import check_share
from .text import IGNORED

MASKS_TO_CHECK = 100  # limit that keeps the start of training fast


def check_labels(path: str, mask: np.ndarray, last: float) -> None:
    """Raises UsageError if a mask has several channels, or labels above the last class."""
    if mask.ndim > 2:
        raise UsageError(f'mask {path} must have one channel with the class index of each pixel, got {mask.shape[2]}')
    if wrong := [int(label) for label in np.unique(mask) if label > last and label != IGNORED]:
        raise UsageError(f'mask {path} has labels {wrong[:5]}; allowed are 0 to {last} and {IGNORED}')


def check_masks(pairs: dict[str, str], last: int, needs_labels: bool) -> None:
    """Checks masks, given as ``{image: mask}``, against their images and the labels 0 to ``last``.

    Reads at least 100 masks, or all if there are fewer, and stops when two different labels have been found.

    Raises:
        UsageError: If a mask or its image cannot be read; if a mask has several channels or an invalid label; if at
            least half of the checked masks differ from their image in size or have only ignored pixels; or, with
            ``needs_labels``, if all masks have the same label.
    """
    images = list(pairs)
    step = -(-len(images) // MASKS_TO_CHECK)
    checked = images[::step] + [image for i, image in enumerate(images) if i % step]
    labels, wrong, num_checked = set(), [], 0
    for image in checked:
        if num_checked >= MASKS_TO_CHECK and len(labels) > 1:
            break
        num_checked += 1
        mask = np.array(check_image(pairs[image]))
        check_labels(pairs[image], mask, last)
        if mask.shape[::-1] != image_size(image):
            wrong.append('mask {} has {} x {} pixels, but its image has {} x {} (width x height)'.format(
                pairs[image], *mask.shape[::-1], *image_size(image)))
        elif not (values := set(np.unique(mask).tolist()) - {IGNORED}):
            wrong.append(f'mask {pairs[image]} has only the ignored label {IGNORED}')
        else:
            labels |= values
    check_share(wrong, num_checked, f'masks must have the size of their images, and labels other than {IGNORED}')
    if len(labels) < 2 and needs_labels:
        raise UsageError(f'all masks have only the labels {sorted(labels)}, e.g. the mask of {images[0]}; pixel values '
                         'must be class indices from 0, with at least two different classes')
