"""Images are decoded like images for training; damaged and too large images are errors."""
import io

import numpy as np
import pytest
from helpers import raises
from PIL import Image, ImageOps

from mmvit.utils.images import check_image, image_size, read_rgb
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
    assert image_size(tmp_path / 'a.png') == expected.size


def test_damaged_orientation_is_ignored():
    image = Image.fromarray(PIXELS)
    image.info['exif'] = b'Exif\0\0damaged!'
    assert (np.array(read_rgb(image)) == PIXELS).all()


def test_upper_bits_of_deep_images_are_kept():
    deep = np.array([[-70000, 0, 7 * 256, 65535, 10**7]], np.int32)
    assert np.array(read_rgb(Image.fromarray(deep)))[..., 1].tolist() == [[0, 0, 7, 255, 255]]
    content = encode(Image.fromarray(np.array([[255, 256, 65535]], np.uint16)))
    assert np.array(read_rgb(content))[..., 0].tolist() == [[0, 1, 255]]


def test_alpha_is_dropped():
    alpha = np.concatenate([PIXELS, PIXELS[..., :1]], axis=2)
    assert (np.array(read_rgb(encode(Image.fromarray(alpha)))) == PIXELS).all()


def test_an_image_without_pixels_is_refused():
    with raises(UsageError, 'my image', 'no pixels'):
        read_rgb(Image.new('RGB', (0, 5)), name='my image')


def test_files_that_are_not_images_are_named(tmp_path):
    """Formats other than those of image files are refused, although Pillow can read them."""
    whole = encode(Image.fromarray(np.tile(PIXELS, (9, 9, 1))), 'JPEG')
    (tmp_path / 'half.jpg').write_bytes(whole[:len(whole) // 2])
    (tmp_path / 'text.jpg').write_text('text')
    (tmp_path / 'a.gif').write_bytes(encode(Image.fromarray(PIXELS), 'GIF'))
    for name, read, words in [
            ('half.jpg', check_image, ['truncated']), ('text.jpg', check_image, ['not an image', 'PNG']),
            ('text.jpg', image_size, ['not an image', 'PNG']), ('none.jpg', image_size, ['No such file']),
            ('half.jpg', read_rgb, ['truncated']), ('a.gif', read_rgb, ['not an image', 'PNG'])]:
        with raises(UsageError, f'image {tmp_path / name} cannot be read', *words):
            read(tmp_path / name)
    with raises(UsageError, 'the image cannot be read'):
        read_rgb(b'text')
    assert image_size(tmp_path / 'half.jpg') == (270, 180)
    (tmp_path / 'whole.jpg').write_bytes(whole)
    assert np.array(check_image(tmp_path / 'whole.jpg')).shape == (180, 270, 3)
