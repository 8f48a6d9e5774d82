"""Finds image files, reads them as OpenMMLab does, and says why a file cannot be used."""
import io
import os
import os.path as osp
from collections import Counter
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mmvit_backbones.errors import UsageError, first_line

SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff')  # all builds of OpenCV read these
SYSTEM_FILES = ('thumbs.db', 'desktop.ini')  # hidden on Windows
QUICK = 'PNG', 'JPEG', 'MPO'  # formats that are checked without decoding; MPO is JPEG of several images
JPEG, HEAD = b'\xff\xd8', 4096  # bytes with the header, which begins so
END_OF_JPEG, TAIL = b'\xff\xd9', 64  # bytes, among which it is; other data may follow
IGNORED = 255  # mmseg's label for pixels without a class
UNREAD = ('cannot be read by OpenCV, with which OpenMMLab reads images: it must be a JPEG, PNG, BMP, WebP or TIFF '
          'image of at most 2^30 pixels; save TIFF images of other kinds as RGB with 8 bits')
DEEP = ('has signed, 32-bit or floating-point pixels, which OpenMMLab does not read; scale the values to 0 to 255 and '
        'save them with 8 bits')

Content = str | Path | bytes | Image.Image  # path, encoded image, or Pillow image


def is_hidden(name: str) -> bool:
    base = osp.basename(name).lower()
    return base.startswith('.') or base in SYSTEM_FILES


def images_in(root: str, left: Counter | None = None) -> list[str]:
    """Returns the sorted paths of the images at any depth of a folder, relative to the folder; follows links.

    Args:
        root (str): The folder.
        left (Counter | None): Counts other files by their suffix, except hidden files. Defaults to None.

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
            if not is_hidden(name) and not osp.isfile(osp.join(path, name)):
                left['broken links'] += 1
            elif not is_hidden(name) and name.lower().endswith(SUFFIXES):
                found.append(osp.relpath(osp.join(path, name), root))
            elif not is_hidden(name):
                left[osp.splitext(name)[1].lower() or 'without suffix'] += 1
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise UsageError(f'{error.filename} cannot be read: {error.strerror}') from error


class ImageInfo(NamedTuple):
    """Facts of an image file.

    Args:
        fault (str): Why it cannot be used, or ''.
        size (tuple | None): Width and height as OpenCV turns it. Defaults to None: not known.
        format (str | None): Its format. Defaults to None: unknown to Pillow.
    """

    fault: str
    size: tuple[int, int] | None = None
    format: str | None = None


def image_info(path: str | Path, decodes: bool = False) -> ImageInfo:
    """Opens an image file once, and returns its facts; a fault has the name of the file.

    Of a JPEG file, reads the header and the end; compares checksums in a PNG file; decodes other files, or all with
    ``decodes``.
    """
    info, _ = _look(path, decodes)
    return info._replace(fault=info.fault and f'image {path} {info.fault}')


def digest_at(path: str | Path, of_ends: bool = False) -> str | None:
    """Returns the size of a file and a digest of its bytes; None if it is missing, and '' if it cannot be read.

    With ``of_ends``, of a JPEG file only its begin and its end count, as in records of version 1.
    """
    if not osp.isfile(path):
        return None
    with suppress(OSError):
        content = Path(path).read_bytes()
        size = len(content)
        if of_ends and content.startswith(JPEG):
            content = content[:HEAD] + content[max(HEAD, size - TAIL):]
        return f'{size}-{blake2b(content, digest_size=16).hexdigest()}'
    return ''


def _look(source: str | Path | bytes, decodes: bool = True) -> tuple[ImageInfo, np.ndarray | None]:
    """Returns the facts of an image and, if it was decoded, its 8-bit BGR pixels as in the training pipelines.

    Pillow would show other pixels of TIFF images with an alpha channel.
    """
    import cv2
    try:
        with open(source, 'rb') if isinstance(source, (str, Path)) else io.BytesIO(source) as file:
            info, pixels = facts_of(file), None
            if info.fault or info.format in QUICK and not decodes:
                return info, None
            file.seek(0)
            with suppress(cv2.error):
                pixels = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        return ImageInfo(f'cannot be read: {first_line(error)}'), None
    if pixels is None:
        return info._replace(fault=UNREAD, size=None), None
    return info._replace(size=pixels.shape[1::-1]), pixels


def facts_of(file: BinaryIO) -> ImageInfo:
    """Returns the facts of an open image; a fault begins with a verb. JPEG and PNG files are not decoded."""
    try:
        image, fault = Image.open(file), ''
        size = _turned_size(image)
        if is_deep(image):
            fault = DEEP
        elif image.format == 'PNG':
            image.verify()
        elif image.format in QUICK:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            if END_OF_JPEG not in file.read():
                image.load()  # raises an exception; OpenCV fills missing pixels with gray
        return ImageInfo(fault, size, image.format)
    except (UnidentifiedImageError, Image.DecompressionBombError):  # OpenCV may read it, e.g. a TIFF of four bands
        return ImageInfo('' if file.seek(0, 2) else 'cannot be read: the file is empty')
    except Exception as error:  # Pillow raises any exception for damaged files
        return ImageInfo(f'cannot be read: {first_line(error)}')


def is_deep(image: Image.Image) -> bool:
    """Returns whether pixels are signed, 32-bit or floats; older versions of Pillow read 16 bits of PNG as 32."""
    return image.mode in ('I', 'F') and image.format != 'PNG'


def _turned_size(image: Image.Image) -> tuple[int, int]:
    """Returns width and height of an image as OpenCV turns it, which ignores damaged EXIF data."""
    width, height = image.size
    with suppress(Exception):
        is_known = image.format != 'PNG' or 'exif' in image.info  # else, Pillow would look behind a PNG file's pixels
        if is_known and image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8):
            return height, width
    return width, height


def read_rgb(source: Content, name: str | None = None) -> Image.Image:
    """Decodes an image as RGB in the same way as the training pipelines, with OpenCV.

    Applies the EXIF orientation, keeps the upper 8 of 16 bits, and converts palette, gray and CMYK images to RGB. Drops
    the alpha channel, or in TIFF files multiplies the colors by it. Reads only the first frame.

    Args:
        source (Content): Path or encoded image that OpenCV reads, or a Pillow image.
        name (str | None): Name of the image in error messages. Defaults to None, which uses the path.

    Raises:
        UsageError: If OpenCV cannot read the image, or it has no or too many pixels, or floating-point pixels.
    """
    name = name or (f'image {source}' if isinstance(source, (str, Path)) else 'the image')
    if isinstance(source, Image.Image):
        return _converted(source, name)
    info, pixels = _look(source)
    if pixels is None:
        raise UsageError(f'{name} {info.fault}')
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


def _converted(image: Image.Image, name: str) -> Image.Image:
    """Converts a Pillow image to RGB, turned as its EXIF data say."""
    if not min(image.size) or is_deep(image):
        raise UsageError(f'{name} {DEEP if min(image.size) else "has no pixels"}')
    is_multiplied = image.format == 'TIFF' and image.mode == 'RGBA'
    try:
        image = ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow raises any exception for damaged files
        raise UsageError(f'{name} cannot be read: {first_line(error)}') from error
    if image.mode.startswith('I'):  # keeps the upper 8 of 16 bits, as OpenCV does
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if is_multiplied:  # by alpha, as OpenCV's library for TIFF does
        pixels = np.asarray(image).astype(np.uint16)
        image = Image.fromarray(((pixels[..., :3] * pixels[..., 3:] + 127) // 255).astype(np.uint8))
    return image.convert('RGB')
