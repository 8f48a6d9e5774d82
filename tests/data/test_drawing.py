"""Annotations are drawn without changes, and invalid annotations are skipped."""
import numpy as np
import pytest
from PIL import Image

from mmvit_backbones.data.drawing import COLORS, MARGIN, SIDE, Annotation, Sample, draw_sample

WIDTH, HEIGHT = 96, 48
SCALE = SIDE / WIDTH


@pytest.fixture
def image(tmp_path):
    Image.new('RGB', (WIDTH, HEIGHT), 'white').save(tmp_path / 'a.png')
    return str(tmp_path / 'a.png')


def pixel(drawing: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    """Returns the color at a point of the image."""
    return tuple(drawing[round(MARGIN + y * SCALE), round(MARGIN + x * SCALE)].tolist())


def test_boxes_and_outlines(image):
    """Parts of a box beyond the image are drawn, too."""
    full = [0, WIDTH * HEIGHT]
    drawing = draw_sample(Sample(image, [Annotation(3, 'cat', [20, 10, 85, 20], [[70, 32, 90, 32, 90, 46, 70, 46]])]))
    assert pixel(drawing, 20, 20) == pixel(drawing, 104.8, 20) == COLORS[3]
    assert pixel(drawing, 60, 20) == (255, 255, 255)
    assert pixel(drawing, 80, 40) not in ((255, 255, 255), COLORS[3])
    covered = draw_sample(Sample(image, [Annotation(3, 'cat', None, dict(size=[HEIGHT, WIDTH], counts=full))]))
    assert pixel(covered, 60, 20) == pixel(drawing, 80, 40)


def test_masks_have_their_own_size(image, tmp_path):
    labels = np.full((24, 48), 255, np.uint8)
    labels[:12] = 1
    Image.fromarray(labels).save(tmp_path / 'mask.png')
    drawing = draw_sample(Sample(image, [], str(tmp_path / 'mask.png')))
    assert pixel(drawing, 20, 5) == pixel(drawing, 45, 5) != (255, 255, 255)
    assert pixel(drawing, 20, 20) == pixel(drawing, 60, 5) == (255, 255, 255)


@pytest.mark.parametrize('box, outline', [
    (None, None), ([1, 2, float('nan'), 4], [[1, 2, float('inf'), 4, 5, 6]]), ('text', 'text'), ([1, 2, 3], [[1, 2]]),
    ([1e300, -1e300, 9, 9], [[1e300, 0, 0, 1e300, 5, 5]]), ([9, 9, -5, -5], [None, 'text', ['a'] * 6]),
    (None, dict(size=[HEIGHT, WIDTH], counts='zzzz')), (None, dict(size=[HEIGHT, WIDTH], counts=[5])),
    (None, dict(size=[10**6, 10**6], counts=[10**12])), (None, dict(size=None)), (None, {})])
def test_what_is_invalid_is_left_out(box, outline, image):
    assert draw_sample(Sample(image, [Annotation(-1, 'café ☃', box, outline)])).ndim == 3


def test_files_that_cannot_be_read(image, tmp_path):
    (tmp_path / 'b.png').write_text('text')
    assert draw_sample(Sample(str(tmp_path / 'b.png'), [])).ndim == 3
    plain = draw_sample(Sample(image, []))
    assert (draw_sample(Sample(image, [], str(tmp_path / 'b.png'))) == plain).all()
