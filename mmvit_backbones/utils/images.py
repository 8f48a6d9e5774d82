"""Reads image files."""
from pathlib import Path

from PIL import Image

from ..errors import UsageError

ORIENTATION = 0x0112  # of EXIF; from 5 on, width and height are exchanged
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def check_image(path: str | Path) -> Image.Image:
    """Reads an image file; raises UsageError if it is truncated, or so large that it may be an attack."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f'image {path} cannot be read: {error}') from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Returns width and height of an image file as OpenCV reads it, turned by EXIF; reads the head of the file only."""
    try:
        with Image.open(path) as image:
            return image.size[::-1] if image.getexif().get(ORIENTATION, 1) >= 5 else image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f'image {path} cannot be read: {error}') from error


def read_rgb(path: str | Path) -> Image.Image:
    """Reads an image file in RGB; see :func:`check_image`."""
    return check_image(path).convert('RGB')


def pixel(text: str) -> tuple[int, int]:
    """Parses ``X,Y``."""
    x, y = text.split(',')
    return int(x), int(y)
