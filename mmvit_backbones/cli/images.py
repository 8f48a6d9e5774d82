"""Image files, and pixels of them."""
from pathlib import Path

from PIL import Image

from .config import UsageError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def check_image(path: str | Path) -> None:
    """Read a whole file to see that it is an image; one that is cut short is none.

    Raises:
        UsageError: It is none, or one of so many pixels that it may be an attack.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f'image {path} cannot be read: {error}') from error


def read_rgb(path: str | Path) -> Image.Image:
    """An image file in RGB; raises what :func:`check_image` does."""
    check_image(path)
    with Image.open(path) as image:
        return image.convert('RGB')


def pixel(text: str) -> tuple[int, int]:
    """``X,Y`` of a command line."""
    x, y = text.split(',')
    return int(x), int(y)
