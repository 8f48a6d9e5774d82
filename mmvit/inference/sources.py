"""Finds and reads images in files, folders, URLs, videos and memory."""
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeGuard
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.file_access import check_file
from mmvit_backbones.utils.web import receive

from ..utils.images import SUFFIXES, Content, images_in, read_rgb

VIDEOS = '.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg'
MAX_DOWNLOAD = 100e6  # bytes
SOURCES = str, Path, bytes, bytearray, memoryview, np.ndarray, Image.Image
Source = str | Path | bytes | bytearray | memoryview | np.ndarray | Image.Image | BinaryIO
ALLOWED = 'a path, a URL, bytes, an open file, a Pillow image or an array'


class Frame(NamedTuple):
    """An image's name and RGB uint8 array ``(height, width, 3)``, and the error if it cannot be read or processed."""

    name: str
    image: np.ndarray | None
    error: str | None = None


def is_url(source: object) -> TypeGuard[str]:
    return isinstance(source, str) and source.startswith(('http://', 'https://'))


def check_url(url: str) -> None:
    try:
        urlsplit(url.encode().decode())
    except ValueError as error:
        raise UsageError(f'image {url} is not a valid URL: {error}') from error


def find_images(sources: Iterable[str | Path], suffixes: tuple[str, ...] = SUFFIXES) -> list[Path | str]:
    """Returns the files and URLs in ``sources``; replaces folders with the image files in them, recursively and sorted.

    Raises:
        UsageError: If a file does not exist or is not a regular file, a URL is invalid, or a folder has no images.
    """
    images: list[Path | str] = []
    for source in sources:
        path = Path(source)
        if is_url(source):
            check_url(source)
            images.append(source)
            continue
        found = [path]
        if not os.path.isdir(path):
            check_file(path, 'image')
        else:
            found = [path / name for name in images_in(str(path), suffixes=suffixes)]
        if not found:
            raise UsageError(f'folder {path} contains no images; allowed suffixes: {", ".join(suffixes)}')
        images += found
    return images


def read_frames(sources: object) -> Iterator[Frame]:
    """Yields the images of one or more sources.

    A source is a file, a folder, an http(s) URL, a video, an encoded image as bytes, an open file, a Pillow
    image, or an RGB uint8 array ``(height, width, 3)``. An image that cannot be read is yielded as a Frame with an
    error.

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
        if isinstance(source, (str, Path)) and str(source).lower().endswith(VIDEOS):
            yield from _read_video(source)
        elif isinstance(source, (str, Path)):
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
        content = download(source) if is_url(source) else source
        return Frame(name, np.array(read_rgb(content, name=f'image {name}')))
    except UsageError as error:
        return Frame(name, None, str(error).split('\n')[0])


def _check_array(array: np.ndarray, name: str) -> Frame:
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.size:
        return Frame(name, array)
    return Frame(name, None, f'image must be an RGB uint8 array (height, width, 3), got {array.dtype} {array.shape}')


def download(url: str) -> bytes:
    """Returns the contents of the file at a URL; raises UsageError if the download fails or exceeds 100 MB."""
    content = io.BytesIO()
    try:
        receive(url, content, MAX_DOWNLOAD)
    except UsageError as error:
        raise UsageError(f'{url} cannot be downloaded: {error}') from error
    return content.getvalue()


def _read_video(source: str | Path) -> Iterator[Frame]:
    import cv2
    video, number = cv2.VideoCapture(str(source)), 0
    while (frame := video.read()[1]) is not None:
        yield Frame(f'{source}#{number}', np.ascontiguousarray(frame[..., ::-1]))
        number += 1
    if not number:
        yield Frame(str(source), None, f'video {source} cannot be read by OpenCV')
