"""Image files."""
from pathlib import Path

from PIL import Image

from .config import UsageError


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
