"""Images are decoded like images for training; damaged and too large images are errors."""
import io
import struct
import zlib

import numpy as np
import pytest
from helpers import raises
from PIL import Image, ImageOps

from mmvit.folders.images import image_info, read_rgb
from mmvit_backbones.errors import UsageError

PIXELS = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3).astype(np.uint8)


def encode(image: Image.Image, kind: str = 'PNG', **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize('orientation', range(10))
def test_orientation_is_applied(orientation, tmp_path):
    """Orientations other than 1 to 8 are ignored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / 'a.png').write_bytes(encode(Image.fromarray(PIXELS), exif=exif))
    with Image.open(tmp_path / 'a.png') as image:
        expected = ImageOps.exif_transpose(image)
    assert (np.array(read_rgb(tmp_path / 'a.png')) == np.array(expected)).all()
    assert image_info(tmp_path / 'a.png')[:2] == ('', expected.size)


def test_upper_bits_of_deep_images_are_kept():
    deep = np.array([[0, 7 * 256, 65535]], np.uint16)
    assert np.array(read_rgb(Image.fromarray(deep)))[..., 1].tolist() == [[0, 7, 255]]
    content = encode(Image.fromarray(np.array([[255, 256, 65535]], np.uint16)))
    assert np.array(read_rgb(content))[..., 0].tolist() == [[0, 1, 255]]


def test_files_that_are_not_images_are_named(tmp_path):
    """Formats that OpenCV does not read are refused, although Pillow can read them."""
    whole = encode(Image.fromarray(np.tile(PIXELS, (9, 9, 1))), 'JPEG')
    (tmp_path / 'whole.jpg').write_bytes(whole)
    for name, content, word in [('half.jpg', whole[:len(whole) // 2], 'truncated'), ('text.jpg', b'text', 'OpenCV'),
                                ('tga.jpg', encode(Image.fromarray(PIXELS), 'TGA'), 'OpenCV'),
                                ('empty.jpg', b'', 'the file is empty'), ('none.jpg', None, 'No such file')]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
            with raises(UsageError, 'my image cannot be read', word):
                read_rgb(content, name='my image')
        with raises(UsageError, f'image {tmp_path / name} cannot be read', word):
            read_rgb(tmp_path / name)
        fault = image_info(tmp_path / name).fault
        assert fault.startswith(f'image {tmp_path / name} cannot be read') and word in fault
    assert image_info(tmp_path / 'whole.jpg', decodes=True)[:2] == ('', (270, 180))


def variants() -> dict[str, Image.Image]:
    rgb = Image.fromarray(PIXELS)
    gray, alpha = rgb.convert('L'), np.concatenate([PIXELS, PIXELS[..., :1]], axis=2)
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    return dict(rgb=rgb, gray=gray, alpha=Image.fromarray(alpha), gray_alpha=gray.convert('LA'), bits=rgb.convert('1'),
                palette=rgb.convert('P'), deep=Image.fromarray(deep), cmyk=rgb.convert('CMYK'))


@pytest.mark.parametrize('name, suffix', [
    *((name, suffix) for name in variants() for suffix in ('.png', '.tif') if (name, suffix) != ('cmyk', '.png')),
    ('rgb', '.jpg'), ('cmyk', '.jpg'), ('gray', '.bmp'), ('alpha', '.webp')])
def test_predictions_see_the_pixels_of_the_training(name, suffix, tmp_path):
    """OpenCV multiplies colors by alpha in TIFF files, and Pillow converts CMYK differently."""
    mmcv = pytest.importorskip('mmcv')
    path = tmp_path / f'a{suffix}'
    variants()[name].save(path)
    expected = mmcv.imread(str(path), channel_order='rgb')
    sources = [path, path.read_bytes(), *([Image.open(path)] if suffix == '.tif' and name != 'cmyk' else [])]
    for source in sources:
        np.testing.assert_array_equal(np.array(read_rgb(source)), expected)
    assert image_info(path)[:2] == image_info(path, decodes=True)[:2] == ('', (30, 20))


@pytest.mark.parametrize('bands, dtype, word', [
    (1, 'float32', 'floating-point'), (1, 'int32', '32-bit'), (1, 'int16', 'signed'), (4, 'uint16', ''),
    (4, 'uint8', ''), (5, 'uint8', 'RGB with 8 bits'), (1, 'float64', 'RGB with 8 bits')])
def test_tiff_images_are_read_as_by_opencv_or_refused(bands, dtype, word, tmp_path):
    """Pillow clips the first three, so that values from 0 to 1 become black, and does not know the last four."""
    tifffile, path = pytest.importorskip('tifffile'), tmp_path / 'a.tif'
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, bands)).astype(dtype)
    tifffile.imwrite(path, pixels.squeeze(2) if bands == 1 else pixels, photometric='minisblack',
                     planarconfig=None if bands == 1 else 'contig')
    if word:
        assert word in image_info(path).fault
        with raises(UsageError, path, word):
            read_rgb(path)
        return
    assert image_info(path)[:2] == ('', (30, 20))
    np.testing.assert_array_equal(np.array(read_rgb(path)), pytest.importorskip('mmcv').imread(
        str(path), channel_order='rgb'))


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_deep_values_of_a_pillow_image_are_refused(dtype):
    with raises(UsageError, 'signed, 32-bit or floating-point'):
        read_rgb(Image.fromarray(PIXELS[..., 0].astype(dtype)))


def black_png(side: int) -> bytes:
    """Returns a black square as PNG with one bit per pixel, without the memory of its pixels."""
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
    rows = zlib.compress(bytes((side // 8 + 1) * min(side, 14000)))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0)) + chunk(
        b'IDAT', rows) + chunk(b'IEND', b'')


def test_large_images_are_read_as_by_opencv(tmp_path):
    """Pillow refuses more than 179 million pixels, which a small file may have."""
    path = tmp_path / 'a.png'
    path.write_bytes(black_png(14000))
    assert image_info(path)[:2] == ('', (14000, 14000))
    path.write_bytes(black_png(40000))
    with raises(UsageError, path, '2^30 pixels'):
        read_rgb(path)
