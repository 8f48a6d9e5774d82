"""Finds and reads image files."""
import io
import os
import os.path as osp
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmvit_backbones.errors import UsageError, first_line

SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff')  # all builds of OpenCV read these
SYSTEM_FILES = ('thumbs.db', 'desktop.ini')  # hidden on Windows
FORMATS = tuple(dict.fromkeys(Image.registered_extensions()[suffix] for suffix in SUFFIXES))
END_OF_JPEG = b'\xff\xd9'  # perhaps followed by other data
TAIL = 64  # bytes
ORIENTATION = 0x0112  # EXIF tag; values of 5 and above swap width and height
TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
         5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
         8: Image.Transpose.ROTATE_90}


# Sources of an image: path, encoded image, open file, or Pillow image.
Content = str | Path | bytes | bytearray | memoryview | BinaryIO | Image.Image


def is_hidden(name: str) -> bool:
    base = osp.basename(name).lower()
    return base.startswith('.') or base in SYSTEM_FILES


def images_in(root: str, left: Counter | None = None, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """Returns the sorted paths of the images at any depth of a folder, relative to the folder; follows links.

    Args:
        root (str): The folder.
        left (Counter | None): Counts other files by their suffix, except hidden files. Defaults to None.
        suffixes (tuple[str, ...]): Suffixes of images in lower case.

    Raises:
        UsageError: If a folder cannot be read.
    """
    found, visited, left = [], set(), Counter() if left is None else left
    for path, folders, names in os.walk(root, onerror=_refuse, followlinks=True):
        place = osp.realpath(path)
        if place in visited:  # a link to a folder above, or a second link
            folders.clear()
            continue
        visited.add(place)
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in names:
            if is_hidden(name):
                continue
            if not osp.isfile(osp.join(path, name)):
                left['broken links'] += 1
            elif name.lower().endswith(suffixes):
                found.append(osp.relpath(osp.join(path, name), root))
            else:
                left[osp.splitext(name)[1].lower() or 'without suffix'] += 1
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise UsageError(f'{error.filename} cannot be read: {error.strerror}') from error


def check_image(path: str | Path) -> Image.Image:
    """Reads an image file; raises UsageError if it is damaged or exceeds Pillow's limit for decompression bombs."""
    if error := quick_error(path):  # first, so that a fault has the same words in all checks
        raise UsageError(error)
    return decoded(path)


def decoded(path: str | Path) -> Image.Image:
    """Decodes an image file; raises UsageError if that fails."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except Exception as error:
        raise unreadable(f'image {path}', error) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Returns width and height of an image after EXIF rotation, as in OpenCV.

    Does not decode the image, except in PNG files, whose EXIF data may follow the pixels.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            return (height, width) if orientation_of(image) >= 5 else (width, height)
    except Exception as error:
        raise unreadable(f'image {path}', error) from error


def read_rgb(source: Content, name: str | None = None) -> Image.Image:
    """Decodes an image as RGB in the same way as the training pipelines.

    Applies the EXIF orientation, drops the alpha channel, keeps the upper 8 of 16 bits, and converts palette, gray and
    CMYK images to RGB. Reads only the first frame.

    Args:
        source (Content): Path, encoded image or open file in one of ``FORMATS``, or a Pillow image.
        name (str | None): Name of the image in error messages. Defaults to None, which uses the path.

    Raises:
        UsageError: If the image cannot be read, has no pixels, or is not in one of ``FORMATS``.
    """
    name = name or (f'image {source}' if isinstance(source, (str, Path)) else 'the image')
    if isinstance(source, Image.Image):
        return decode(source, name)
    file = io.BytesIO(source) if isinstance(source, (bytes, bytearray, memoryview)) else source
    try:
        opened = Image.open(file, formats=FORMATS)
    except Exception as error:
        raise unreadable(name, error) from error
    with opened:
        return decode(opened, name)


def decode(image: Image.Image, name: str) -> Image.Image:
    """Converts a Pillow image to RGB and applies its EXIF orientation; see :func:`read_rgb`."""
    if not min(image.size):
        raise UsageError(f'{name} has no pixels')
    try:
        image.load()
    except Exception as error:
        raise unreadable(name, error) from error
    orientation = orientation_of(image)
    if orientation != 1:
        image = image.transpose(TURNS[orientation])
    if image.mode.startswith('I'):
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return image.convert('RGB')


def orientation_of(image: Image.Image) -> int:
    """Returns the EXIF orientation, or 1 if it is missing or damaged."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow can raise any exception for malformed EXIF
        return 1
    return value if value in TURNS else 1


def unreadable(name: str, error: Exception) -> UsageError:
    """Returns a UsageError for any exception that Pillow raised while reading an image."""
    if isinstance(error, UnidentifiedImageError):  # its message contains a memory address
        return UsageError(f'{name} cannot be read: it is not an image; allowed formats: {", ".join(FORMATS)}')
    return UsageError(f'{name} cannot be read: {first_line(error)}')


def quick_error(path: str | Path) -> str:
    """Returns why an image file cannot be read, or an empty string.

    Of a JPEG file, reads the header and the end; compares checksums in a PNG file; decodes other files, and JPEG files
    without the usual end.
    """
    try:
        with open(path, 'rb') as file, Image.open(file) as image:
            is_png, is_whole = image.format == 'PNG', False
            if is_png:
                image.verify()
            elif image.format == 'JPEG':
                file.seek(max(0, file.seek(0, 2) - TAIL))
                is_whole = END_OF_JPEG in file.read()
        if not is_png and not is_whole:
            decoded(path)
    except Exception as error:
        return str(error if isinstance(error, UsageError) else unreadable(f'image {path}', error)).split('\n')[0]
    return ''
