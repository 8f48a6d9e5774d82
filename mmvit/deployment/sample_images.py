"""Chooses the images on which an exported file is compared with PyTorch and calibrated."""
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from mmvit_backbones.errors import UsageError

from ..folders.data_set_files import check_data
from ..inference.sources import find_images
from ..utils.frameworks import build_dataset
from ..utils.images import read_rgb

CHECKED_IMAGES = 8
CALIBRATION_IMAGES = 32
GENERATED_SIZES = (480, 640), (640, 480), (375, 500), (427, 640)  # height, width; common for photos


def images_to_compare(cfg: Config | None, images: Sequence[str | Path] = (),
                      calibration: str | Path | None = None) -> tuple[list[np.ndarray], str]:
    """Returns images and what they are: ``images``, else a test set, else a folder for int8, else generated ones.

    Args:
        cfg (Config | None): Config whose test set is used, or None.
        images (Sequence[str | Path]): Image files and folders. Defaults to ().
        calibration (str | Path | None): Folder whose every second image is for calibration, beginning with the first;
            the others are used. Defaults to None.
    """
    if images:
        return counted(find_images(images), '')
    if cfg is not None:
        return counted(image_files(cfg, 'test'), ' of the test set')
    if calibration:
        found = find_images([calibration])
        return counted(found[1::2] or found, f' of {calibration}')
    return generated_images(), 'generated images (pass --images to use real ones)'


def counted(paths: list, origin: str) -> tuple[list[np.ndarray], str]:
    images = read(paths, CHECKED_IMAGES)
    return images, f'{len(images)} images{origin}'


def has_test_set(cfg: Config) -> bool:
    """Returns whether the files of a config's test set exist."""
    try:
        check_data(cfg, ['test'], content=False)
    except UsageError:
        return False
    return True


def image_files(cfg: Config, split: str) -> list[str]:
    """Returns the paths of the first images in the data set of 'train' or 'test'."""
    dataset = build_dataset(cfg, split)
    return [dataset.get_data_info(number)['img_path'] for number in range(min(CALIBRATION_IMAGES, len(dataset)))]


def read(paths: list, count: int) -> list[np.ndarray]:
    """Reads at most ``count`` images, evenly spaced in the list."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
    return [np.array(read_rgb(paths[number])) for number in chosen]


def generated_images() -> list[np.ndarray]:
    """Returns images of random blobs in several sizes. Every call returns the same images."""
    random = np.random.default_rng(0)
    return [cv2.resize(random.integers(256, size=(12, 16, 3), dtype=np.uint8), (width, height),
                       interpolation=cv2.INTER_CUBIC) for height, width in 2 * GENERATED_SIZES]
