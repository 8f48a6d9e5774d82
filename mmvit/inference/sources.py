"""Finds and reads images in files, folders and memory."""
import os
from collections.abc import Iterable, Iterator
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_file

from ..folders.images import SUFFIXES, images_in, read_rgb

Source = str | Path | bytes | np.ndarray | Image.Image
ALLOWED = 'a path, bytes, a binary file object, a Pillow image or an array'


def find_images(sources: Iterable[str | Path]) -> list[Path]:
    """Returns the files in ``sources``; replaces folders with the image files in them, recursively and sorted.

    Raises:
        UsageError: If a file does not exist or is not a regular file, such as a film or an address, or a folder has no
            images.
    """
    images: list[Path] = []
    for source in sources:
        refuse_films(str(source))
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


def refuse_films(source: str) -> None:
    """Raises UsageError for a film or an address, of which nothing is downloaded."""
    is_address, kind = '://' in source, guess_type(source)[0] or ''
    if is_address or kind.startswith('video/') and not os.path.isdir(source):
        raise UsageError(f'image {source} is {"an address" if is_address else "a film"}: pass image files or folders, '
                         'downloaded before; frames of a film or a stream go through Predictor.stream, see '
                         'docs/python.md')


def read_images(sources: object) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the name of each image, or its number in ``sources``, and its RGB uint8 array ``(height, width, 3)``.

    A source is a file, a folder, an encoded image as bytes or in a file object, a Pillow image, or an RGB uint8 array.

    Raises:
        UsageError: If a source has an unsupported type, or an image cannot be read.
    """
    if isinstance(sources, Source) or hasattr(sources, 'read'):
        sources = [sources]
    elif not isinstance(sources, Iterable):
        raise UsageError(f'images must be {ALLOWED}, or an iterable of these, got {type(sources).__name__}')
    for number, source in enumerate(sources):
        read = getattr(source, 'read', None)  # of files and uploads
        content: Any = read() if read else source
        if not isinstance(content, bytes if read else Source):
            raise UsageError(f'image {number} must be {ALLOWED}, got {type(source).__name__}')
        if isinstance(content, (str, Path)):
            for path in find_images([content]):
                yield str(path), np.array(read_rgb(path))
        elif isinstance(content, np.ndarray):
            if content.dtype != np.uint8 or content.ndim != 3 or content.shape[2] != 3 or not content.size:
                raise UsageError('image must be an RGB uint8 array (height, width, 3), got '
                                 f'{content.dtype} {content.shape}')
            yield str(number), content
        else:
            yield str(number), np.array(read_rgb(content, f'image {number}'))
