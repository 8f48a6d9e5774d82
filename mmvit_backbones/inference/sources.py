"""Finds and reads images: files, folders, addresses, arrays, videos and cameras."""
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UsageError
from ..utils.images import SUFFIXES, read_rgb

VIDEOS = '.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg'
MAX_DOWNLOAD = 100e6  # bytes


class Frame(NamedTuple):
    """An image ``(height, width, 3)`` in RGB uint8 with the name of its source, or the reason why it has none."""

    name: str
    image: np.ndarray | None
    error: str | None = None


def is_address(source: object) -> bool:
    return isinstance(source, str) and source.startswith(('http://', 'https://'))


def find_images(sources: Iterable[str | Path], suffixes: tuple[str, ...] = SUFFIXES) -> list[Path | str]:
    """Returns the image files among files and folders, which are searched, in order of their names, and addresses.

    Raises:
        UsageError: If a source does not exist, or a folder has no image.
    """
    images = []
    for source in sources:
        path = Path(source)
        if is_address(source):
            images.append(source)
            continue
        if not path.exists():
            raise UsageError(f'image {path} does not exist')
        found = sorted(p for p in path.rglob('*') if p.suffix.lower() in suffixes) if path.is_dir() else [path]
        if not found:
            raise UsageError(f'folder {path} has no image; allowed are {", ".join(suffixes)}')
        images += found
    return images


def read_frames(sources: object) -> Iterator[Frame]:
    """Yields the images of one or several sources.

    A source is a file, a folder, an http(s) address, a video, the number of a camera, or an array ``(height, width,
    3)`` in RGB uint8. What cannot be read is yielded with its error.
    """
    if isinstance(sources, (str, Path, int, np.ndarray)):
        sources = [sources]
    for number, source in enumerate(sources):
        if isinstance(source, np.ndarray):
            is_image = source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] == 3 and source.size
            reason = f'image must be a uint8 array (height, width, 3) in RGB, got {source.dtype} {source.shape}'
            yield Frame(str(number), source if is_image else None, None if is_image else reason)
        elif isinstance(source, int) or str(source).lower().endswith(VIDEOS):
            yield from _read_video(source)
        elif isinstance(source, (str, Path)):
            for path in find_images([source]):
                try:
                    content = download(path) if is_address(path) else path
                    yield Frame(str(path), np.array(read_rgb(content, name=f'image {path}')))
                except UsageError as error:
                    yield Frame(str(path), None, str(error).split('\n')[0])
        else:
            raise UsageError(f'image must be a path, an address, an array or a number, got {type(source).__name__}')


def download(address: str) -> bytes:
    """Returns the file at an http(s) address; raises UsageError if it cannot be had, or is larger than 100 MB."""
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            content = answer.read(int(MAX_DOWNLOAD) + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f'{address} cannot be downloaded: {error}') from error
    if len(content) > MAX_DOWNLOAD:
        raise UsageError(f'{address} has more than {MAX_DOWNLOAD / 1e6:g} MB')
    return content


def _read_video(source: str | Path | int) -> Iterator[Frame]:
    import cv2
    video, number = cv2.VideoCapture(source if isinstance(source, int) else str(source)), 0
    while (frame := video.read()[1]) is not None:
        yield Frame(f'{source}#{number}', np.ascontiguousarray(frame[..., ::-1]))
        number += 1
    if not number:
        yield Frame(str(source), None, f'video {source} cannot be read by OpenCV')
