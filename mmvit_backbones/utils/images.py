"""Reads image files."""
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..errors import TooLargeError, UsageError

FORMATS = 'JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF'
ORIENTATION = 0x0112  # of EXIF; from 5 on, width and height are exchanged
UNREADABLE = OSError, SyntaxError, ValueError, Image.DecompressionBombError  # what Pillow raises
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')


def check_image(path: str | Path) -> Image.Image:
    """Reads an image file; raises UsageError if it is truncated, or so large that it may be an attack."""
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except UNREADABLE as error:
        raise UsageError(f'image {path} cannot be read: {error}') from error


def image_size(path: str | Path) -> tuple[int, int]:
    """Returns width and height of an image file as OpenCV reads it, turned by EXIF; reads the head of the file only."""
    try:
        with Image.open(path) as image:
            return image.size[::-1] if image.getexif().get(ORIENTATION, 1) >= 5 else image.size
    except UNREADABLE as error:
        raise UsageError(f'image {path} cannot be read: {error}') from error


def read_rgb(source: str | Path | bytes, max_pixels: float = float('inf'), max_ratio: float = float('inf'),
             name: str | None = None) -> Image.Image:
    """Decodes an image for a model, as the training's loader does.

    The orientation in EXIF is applied, an alpha channel is dropped, 16 bits are reduced to their upper 8, and palettes,
    gray and CMYK become RGB. Of several frames, the first is read.

    Args:
        source (str | Path | bytes): File, or its content, in one of ``FORMATS``.
        max_pixels (float): Limit that is checked before pixels are decoded.
        max_ratio (float): Limit for the ratio of the longer to the shorter side.
        name (str | None): Name for error messages. Defaults to None: the file.

    Raises:
        UsageError: If the file is no such image, or damaged.
        TooLargeError: If it is beyond a limit.
    """
    name = name or f'image {source}'
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as image:
            short, long = sorted(image.size)
            if short * long > max_pixels or long > max_ratio * short:
                raise TooLargeError(f'{name} has {image.width} x {image.height} pixels; allowed are {max_pixels:g} '
                                    f'pixels and a ratio of {max_ratio:g} of its sides')
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith('I'):
                image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            return image.convert('RGB')
    except UsageError:
        raise
    except UNREADABLE as error:
        raise UsageError(f'{name} cannot be read: {error or type(error).__name__}; allowed are '
                         f'{", ".join(FORMATS)}') from error
