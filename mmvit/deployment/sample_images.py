"""Chooses the images on which an exported file is compared with PyTorch."""
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from mmvit_backbones.errors import UsageError

from ..folders.images import read_rgb
from ..inference.sources import find_images
from ..running.data_set_files import check_data, image_files

CHECKED_IMAGES = 8
GENERATED_SIZES = (480, 640), (640, 480), (375, 500), (427, 640)  # height, width; common for photos


def images_to_compare(cfg: Config, images: Sequence[str | Path] = ()) -> tuple[list[np.ndarray], str]:
    """Returns images and what they are: of ``images``, else of the config's test set, else generated ones."""
    if images:
        paths, origin = find_images(images), ''
    else:
        try:
            check_data(cfg, ['test'], content=False)
        except UsageError:
            return generated_images(), 'generated images, as images (--images) were not given'
        paths, origin = image_files(cfg, 'test'), ' of the test set'
    spread = np.unique(np.linspace(0, len(paths) - 1, min(CHECKED_IMAGES, len(paths))).astype(int))
    return [np.array(read_rgb(paths[number])) for number in spread], f'{len(spread)} images{origin}'


def generated_images() -> list[np.ndarray]:
    """Returns images of random blobs in several sizes. Every call returns the same images."""
    random = np.random.default_rng(0)
    return [cv2.resize(random.integers(256, size=(12, 16, 3), dtype=np.uint8), (width, height),
                       interpolation=cv2.INTER_CUBIC) for height, width in 2 * GENERATED_SIZES]
