"""Image files, and pixels of them."""
from pathlib import Path

from PIL import Image

from ..errors import UsageError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def check_image(path: str | Path) -> Image.Image:
    """Read a whole image file; refused are those cut short, and of so many pixels that they may be an attack."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f'image {path} cannot be read: {error}') from error


def read_rgb(path: str | Path) -> Image.Image:
    """The same in RGB."""
    return check_image(path).convert('RGB')


def pixel(text: str) -> tuple[int, int]:
    """``X,Y`` of a command line."""
    x, y = text.split(',')
    return int(x), int(y)
