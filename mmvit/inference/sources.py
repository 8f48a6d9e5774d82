"""Finds and reads images in files, folders and memory."""
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeGuard

import numpy as np
from PIL import Image

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_file

from ..utils.images import SUFFIXES, Content, images_in, read_rgb

SOURCES = str, Path, bytes, bytearray, memoryview, np.ndarray, Image.Image
Source = str | Path | bytes | bytearray | memoryview | np.ndarray | Image.Image | BinaryIO
ALLOWED = 'a path, bytes, an open file, a Pillow image or an array'


class Frame(NamedTuple):
    """An image's name and RGB uint8 array ``(height, width, 3)``, and the error if it cannot be read or processed."""

    name: str
    image: np.ndarray | None
    error: str | None = None


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """Returns the files in ``sources``; replaces folders with the image files in them, recursively and sorted.

    Raises:
        UsageError: If a file does not exist or is not a regular file, or a folder has no images.
    """
    images: list[Path] = []
    for source in sources:
        path = Path(source)
        found = [path]
        if not os.path.isdir(path):
            check_file(path, 'image')
        else:
            found = [path / name for name in images_in(str(path))]
        if not found:
            raise UsageError(f'folder {path} contains no images; allowed suffixes: {", ".join(SUFFIXES)}')
        images += found
    return images


def read_frames(sources: object) -> Iterator[Frame]:
    """Yields the images of one or more sources.

    A source is a file, a folder, an encoded image as bytes, an open file, a Pillow image, or an RGB uint8 array
    ``(height, width, 3)``. An image that cannot be read is yielded as a Frame with an error.

    Raises:
        UsageError: If a source has an unsupported type.
    """
    if is_source(sources):
        sources = [sources]
    elif not isinstance(sources, Iterable):
        raise UsageError(f'images must be {ALLOWED}, or an iterable of these, got {type(sources).__name__}')
    for number, source in enumerate(sources):
        if not is_source(source):
            raise UsageError(f'image {number} must be {ALLOWED}, got {type(source).__name__}')
        if isinstance(source, (str, Path)):
            yield from _read_files(source)
        elif isinstance(source, np.ndarray):
            yield _check_array(source, str(number))
        else:
            yield _read_image(source, name_of(source) or str(number))


def is_source(value: object) -> TypeGuard[Source]:
    return isinstance(value, SOURCES) or hasattr(value, 'read')


def name_of(source: object) -> str | None:
    """Returns the file name of an open file or a Pillow image, or None if the name is unknown."""
    name = getattr(source, 'filename' if isinstance(source, Image.Image) else 'name', None)
    return name if isinstance(name, str) and name else None


def _read_files(source: str | Path) -> Iterator[Frame]:
    try:
        paths = find_images([source])
    except UsageError as error:
        yield Frame(str(source), None, str(error))
        return
    for path in paths:
        yield _read_image(path, str(path))


def _read_image(source: Content, name: str) -> Frame:
    try:
        return Frame(name, np.array(read_rgb(source, name=f'image {name}')))
    except UsageError as error:
        return Frame(name, None, str(error).split('\n')[0])


def _check_array(array: np.ndarray, name: str) -> Frame:
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size:
        return Frame(name, array)
    return Frame(name, None, f'image must be an RGB uint8 array (height, width, 3), got {array.dtype} {array.shape}')


