"""Finds and reads image files."""
import io
import os
import os.path as osp
from collections import Counter
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from mmvit_backbones.errors import UsageError, first_line

SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff')  # all builds of OpenCV read these
SYSTEM_FILES = ('thumbs.db', 'desktop.ini')  # hidden on Windows
FORMATS = tuple(dict.fromkeys(Image.registered_extensions()[suffix] for suffix in SUFFIXES))
START_OF_JPEG, END_OF_JPEG = b'\xff\xd8', b'\xff\xd9'  # perhaps followed by other data
TAIL = 64  # bytes
JPEG = 'JPEG', 'MPO'
STACKS = 'TIFF', 'GIF'
QUICK = *JPEG, 'PNG'  # formats that are checked without decoding
MAX_PIXELS = 2**30  # of OpenCV
PILLOW_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS)  # above, Pillow raises an exception
OPENING = Lock()  # of images without Pillow's limit, which is a global setting
IGNORED = 255  # mmseg's label for pixels without a class
DEEP = {'F': 'floating-point', 'I': '32-bit'}
TIFF = b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'  # how files start, with addresses of 32 or 64 bits
SAMPLES = {1: '', 2: 'signed ', 3: 'floating-point ', 5: 'complex ', 6: 'complex '}  # TIFF's SampleFormat
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


class ImageInfo(NamedTuple):
    """Facts of an image file.

    Args:
        fault (str): Why it cannot be used, or ''.
        size (tuple | None): Width and height as OpenCV rotates it, or None if not known.
        pages (int): Pages of a TIFF or GIF image, of which OpenCV reads the first. Defaults to 1.
    """

    fault: str
    size: tuple[int, int] | None
    pages: int = 1


def image_info(path: str | Path, decodes: bool = False) -> ImageInfo:
    """Opens an image file once, and returns its size and whether OpenCV, with which OpenMMLab reads it, can use it.

    Of a JPEG file, reads the header and the end; compares checksums in a PNG file; decodes other files.

    Args:
        path (str | Path): The file.
        decodes (bool): Whether to decode all files. Defaults to False.
    """
    name = f'image {path}'
    try:
        with open(path, 'rb') as file:
            try:
                image = open_image(file)
            except UnidentifiedImageError:
                pixels = decode_tiff(whole(file))  # raises an error if it is in no format that OpenCV reads
                return ImageInfo('', pixels.shape[1::-1])
            # Of a PNG file without EXIF data, Pillow would decode the pixels to look behind them.
            is_plain = image.format == 'PNG' and b'eXIf' not in whole(file)
            size = image.size if is_plain else rotated_size(image)
            if fault := fault_of(image, file):
                return ImageInfo(f'{name} {fault}', size)
            if (decodes or image.format not in QUICK) and decode(whole(file)) is None:
                return ImageInfo(f'{name} cannot be read by OpenCV, which OpenMMLab uses', size)
            return ImageInfo('', size, pages_of(image))
    except Exception as error:
        return ImageInfo(str(unreadable(name, error)).split('\n')[0], None)


def pages_of(image: Image.Image) -> int:
    """Returns the number of pages of an open TIFF or GIF image; 1 for other formats, and if later pages are damaged."""
    with suppress(Exception):  # OpenCV does not read later pages, of which Pillow can raise any exception
        return getattr(image, 'n_frames', 1) if image.format in STACKS else 1
    return 1


def open_image(file: BinaryIO) -> Image.Image:
    """Opens an image as Pillow does, but without its limit of 179 million pixels, which OpenCV does not have.

    Raises:
        UnidentifiedImageError: If Pillow does not know the file's format.
        ValueError: If the file is empty.
    """
    file.seek(0)
    if not file.read(1):
        raise ValueError('the file is empty')
    with OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def whole(file: BinaryIO) -> bytes:
    """Returns the content of a file from its start, or what is left of a stream."""
    with suppress(OSError, AttributeError):  # a stream
        file.seek(0)
    return file.read()


def fault_of(image: Image.Image, file: BinaryIO, max_pixels: int = MAX_PIXELS) -> str:
    """Returns why OpenCV cannot use an open image, or an empty string; does not decode JPEG and PNG files.

    Raises:
        Exception: Any, if the file is damaged.
    """
    width, height = image.size
    if not width * height:
        return 'has no pixels'
    if width * height > max_pixels:
        return f'has {width} x {height} pixels; at most {max_pixels} can be read'
    if image.mode in DEEP and image.format != 'PNG':  # of which older versions of Pillow read 16 bits as 32
        kind = tiff_kind(file) if image.format == 'TIFF' else f'{DEEP[image.mode]} pixels'
        return f'has {kind}, which OpenMMLab does not read; scale the values to 0 to 255 and save them with 8 bits'
    if image.format == 'PNG':
        file.seek(0)
        open_image(file).verify()
    elif image.format in JPEG:
        file.seek(max(0, file.seek(0, 2) - TAIL))
        if END_OF_JPEG not in file.read():
            image.load()  # OpenCV fills missing pixels with gray
    return ''


def decode(content: bytes) -> np.ndarray | None:
    """Decodes an image as the training pipelines do: 8-bit BGR, rotated as its EXIF data say; None if that fails."""
    import cv2
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None


def decode_tiff(content: bytes) -> np.ndarray:
    """Decodes a TIFF image that Pillow does not know, e.g. of four bands; see :func:`decode`.

    Raises:
        UnidentifiedImageError: If it is no TIFF image.
        UsageError: If OpenCV does not read it either.
    """
    if not content.startswith(TIFF):
        raise UnidentifiedImageError
    pixels = decode(content)
    if pixels is None:
        raise UsageError(f'it is a TIFF image with {tiff_kind(io.BytesIO(content))}, which OpenMMLab does not read; '
                         'save three bands as RGB with 8 bits')
    return pixels


def tiff_kind(file: BinaryIO) -> str:
    """Returns the number of bands of a TIFF image, and the type of their pixels."""
    file.seek(0)
    start = file.read(8)
    is_big = b'+' in start[2:4]
    tags: Any = TiffImagePlugin.ImageFileDirectory_v2(start + file.read(8) if is_big else start)
    file.seek(tags.next)
    tags.load(file)
    bits, = set(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1, )))
    sample, = set(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1, )))
    bands = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    return f'{bands} band{"s" * (bands > 1)} of {SAMPLES.get(sample, "unknown ")}{bits}-bit pixels'


def read_rgb(source: Content, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes an image as RGB in the same way as the training pipelines, with OpenCV.

    Applies the EXIF orientation, keeps the upper 8 of 16 bits, and converts palette, gray and CMYK images to RGB. Drops
    the alpha channel, or in TIFF files multiplies the colors by it. Reads only the first frame.

    Args:
        source (Content): Path, encoded image or open file that OpenCV reads, or a Pillow image.
        name (str | None): Name of the image in error messages. Defaults to None, which uses the path.
        max_pixels (int): Maximum number of pixels of a file. Defaults to OpenCV's limit.

    Raises:
        UsageError: If OpenCV cannot read the image, or it has no or too many pixels, or floating-point pixels.
    """
    name = name or (f'image {source}' if isinstance(source, (str, Path)) else 'the image')
    if isinstance(source, Image.Image):
        return convert(source, name)
    try:
        if isinstance(source, (str, Path)):
            content = Path(source).read_bytes()
        else:
            content = bytes(source) if isinstance(source, (bytes, bytearray, memoryview)) else whole(source)
        file = io.BytesIO(content)
        try:
            fault = fault_of(open_image(file), file, max_pixels)
            pixels = None if fault else decode(content)
        except UnidentifiedImageError:
            fault, pixels = '', decode_tiff(content)
    except Exception as error:
        raise unreadable(name, error) from error
    if pixels is None:
        raise UsageError(f'{name} {fault or "cannot be read by OpenCV, which OpenMMLab uses"}')
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


def read_mask(path: str | Path) -> tuple[str, tuple[int, int] | None, np.ndarray | None]:
    """Opens a mask once, which mmseg reads with Pillow.

    Returns:
        tuple: Why it cannot be used, or ''; width and height; its values ``(height, width[, channels])``.
    """
    name = f'mask {path}'
    try:
        content = Path(path).read_bytes()
        image = open_image(io.BytesIO(content))
        if image.width * image.height > PILLOW_PIXELS:
            return (f'{name} has {image.width} x {image.height} pixels; Pillow, with which mmseg reads masks, allows '
                    f'at most {PILLOW_PIXELS}; cut image and mask into parts', image.size, None)
        if image.format == 'PNG':
            open_image(io.BytesIO(content)).verify()
        return '', image.size, np.array(image)
    except Exception as error:
        return str(unreadable(name, error)).split('\n')[0], None, None


def convert(image: Image.Image, name: str) -> Image.Image:
    """Converts a Pillow image to RGB and applies its EXIF orientation; drops the alpha channel."""
    if not min(image.size):
        raise UsageError(f'{name} has no pixels')
    if image.mode == 'F':
        raise UsageError(f'{name} has {DEEP["F"]} pixels; scale the values to 0 to 255 and pass them with 8 bits')
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


def rotated_size(image: Image.Image) -> tuple[int, int]:
    """Returns width and height of an image after EXIF rotation, as in OpenCV."""
    width, height = image.size
    return (height, width) if orientation_of(image) >= 5 else (width, height)


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
    return UsageError(f'{name} cannot be read: {error if isinstance(error, UsageError) else first_line(error)}')
