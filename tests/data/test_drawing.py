"""Annotations are drawn without changes, and invalid annotations are skipped."""
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from mmvit_backbones.data.drawing import COLORS, GRAY, MARGIN, SIDE, Annotation, Sample, draw_sample, samples_of_coco

WIDTH, HEIGHT = 96, 48
SCALE = SIDE / WIDTH


@pytest.fixture
def image(tmp_path):
    Image.new('RGB', (WIDTH, HEIGHT), 'white').save(tmp_path / 'a.png')
    return str(tmp_path / 'a.png')


def pixel(drawing: np.ndarray, x: float, y: float) -> tuple[int, ...]:
    """Returns the color at a point of the image."""
    return tuple(drawing[round(MARGIN + y * SCALE), round(MARGIN + x * SCALE)].tolist())


def blend(color: tuple[int, ...], alpha: int) -> tuple[int, ...]:
    """Returns a color that is drawn over white."""
    return tuple(round(255 + (channel - 255) * alpha / 255) for channel in color)


def test_boxes_and_outlines(image):
    """Parts of a box beyond the image are drawn, too."""
    full = [0, WIDTH * HEIGHT]
    drawing = draw_sample(Sample(image, [Annotation(3, 'cat', [20, 10, 85, 20], [[70, 32, 90, 32, 90, 46, 70, 46]])]))
    assert pixel(drawing, 20, 20) == pixel(drawing, 104.8, 20) == COLORS[3]
    assert pixel(drawing, 60, 20) == (255, 255, 255)
    assert pixel(drawing, 80, 40) == blend(COLORS[3], 110) and pixel(drawing, 80, 46) == COLORS[3]
    assert drawing.shape == (240 + 2 * MARGIN, SIDE + 2 * MARGIN, 3) and tuple(drawing[0, 0]) == GRAY
    for counts in full, mask_utils.encode(np.ones((HEIGHT, WIDTH), np.uint8, order='F'))['counts'].decode():
        covered = draw_sample(Sample(image, [Annotation(3, 'cat', None, dict(size=[HEIGHT, WIDTH], counts=counts))]))
        assert pixel(covered, 60, 20) == pixel(drawing, 80, 40)


def test_masks_of_one_row(image):
    row = draw_sample(Sample(image, [Annotation(13, 'cat', None, dict(size=[1, WIDTH], counts=[0, WIDTH]))]))
    assert pixel(row, 60, 0.4) == blend(COLORS[3], 110) and pixel(row, 60, 1.2) == (255, 255, 255)


def test_polygons_have_at_least_three_points(image):
    """A coordinate without a partner is ignored."""
    triangle, plain = [20, 10, 60, 10, 60, 40], draw_sample(Sample(image, []))
    drawings = [draw_sample(Sample(image, [Annotation(0, 'cat', None, [polygon])])) for polygon in (
        triangle, [*triangle, 1], triangle[:5], triangle[:4])]
    assert (drawings[0] != plain).any() and (drawings[1] == drawings[0]).all()
    assert (drawings[2] == plain).all() and (drawings[3] == plain).all()


def test_lines_and_corners_of_a_box(image):
    """A box with a negative size is drawn, too; its line is two pixels wide."""
    for box in [20, 10, 40, 20], [60, 30, -40, -20]:
        drawing = draw_sample(Sample(image, [Annotation(-1, 'cat', box, None)]))
        assert pixel(drawing, 20, 20) == pixel(drawing, 40, 30) == pixel(drawing, 60, 20) == COLORS[9]
        colored = (drawing[MARGIN + 100] == COLORS[9]).all(1).nonzero()[0]
        assert colored.tolist() == [160, 161, 359, 360]


@pytest.mark.parametrize('box, place', [
    ([20, 20, 40, 20], (MARGIN + 100 - 12, MARGIN + 100)), ([20, -9999, 1, 1], (0, MARGIN + 100)),
    ([20, 9999, 1, 1], (348, MARGIN + 100)), ([9999, 20, 1, 1], (MARGIN + 100 - 12, 580)),
    ([-9999, 20, 1, 1], (MARGIN + 100 - 12, 0))])
def test_names_of_classes_stay_inside_of_the_drawing(box, place, tmp_path):
    Image.new('RGB', (WIDTH, HEIGHT)).save(tmp_path / 'black.png')
    drawing = draw_sample(Sample(str(tmp_path / 'black.png'), [Annotation(1, 'a', box, None)]))
    rows, columns = (drawing == 255).all(2).nonzero()
    assert 0 <= rows.min() - place[0] <= 4 and 0 <= columns.min() - place[1] <= 1


def test_images_of_a_coco_file_with_their_annotations():
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png') for i in (5, 6)],
        categories=[dict(id=3, name='a'), dict(id=2, name='b')],
        annotations=[dict(image_id=6, category_id=2, bbox=[1]), dict(image_id=7, category_id=2),
                     dict(image_id=6, category_id=9, segmentation=[2])])
    assert samples_of_coco(content, '/in') == [Sample('/in/5.png', []), Sample('/in/6.png', [
        Annotation(1, 'b', [1], None), Annotation(-1, '9', None, [2])])]


def test_narrow_images(tmp_path):
    Image.new('RGB', (1000, 1)).save(tmp_path / 'a.png')
    Image.fromarray(np.ones((1, 1), np.uint8)).save(tmp_path / 'mask.png')
    drawing = draw_sample(Sample(str(tmp_path / 'a.png'), [], str(tmp_path / 'mask.png')))
    assert drawing.shape == (1 + 2 * MARGIN, SIDE + 2 * MARGIN, 3)
    assert drawing[MARGIN, MARGIN:MARGIN + 3].any(1).tolist() == [True, False, False]
    small = Annotation(1, 'a', None, dict(size=[1, 1], counts=[0, 1]))
    drawing = draw_sample(Sample(str(tmp_path / 'a.png'), [small]))
    assert drawing[MARGIN, MARGIN:MARGIN + 3].any(1).tolist() == [True, False, False]


def test_masks_have_their_own_size(image, tmp_path):
    labels = np.full((24, 48), 255, np.uint8)
    labels[:12] = 1
    Image.fromarray(labels).save(tmp_path / 'mask.png')
    drawing = draw_sample(Sample(image, [], str(tmp_path / 'mask.png')))
    assert pixel(drawing, 20, 5) == pixel(drawing, 45, 5) == blend(COLORS[1], 128)
    others = np.where(labels == 1, 11, 255).astype(np.uint8)  # the first channel counts; colors repeat after ten labels
    Image.fromarray(np.stack([others, labels, labels * 2], axis=2)).save(tmp_path / 'color.png')
    assert (draw_sample(Sample(image, [], str(tmp_path / 'color.png'))) == drawing).all()
    assert pixel(drawing, 20, 20) == pixel(drawing, 60, 5) == (255, 255, 255)


@pytest.mark.parametrize('box, outline', [
    (None, None), ([1, 2, float('nan'), 4], [[1, 2, float('inf'), 4, 5, 6]]), ('text', 'text'), ([1, 2, 3], [[1, 2]]),
    ([1, 2, 3, '4'], [None, 'text', ['a'] * 6]), (None, dict(size=[HEIGHT, WIDTH], counts='zzzz')),
    (None, dict(size=[HEIGHT, WIDTH], counts='o0')), (None, dict(size=[HEIGHT, WIDTH], counts=[5])),
    (None, dict(size=[HEIGHT, WIDTH], counts=[WIDTH * HEIGHT + 1, -1])), (None, dict(size=[HEIGHT, WIDTH])),
    (None, dict(size=[HEIGHT, WIDTH], counts=['a'])), (None, dict(size=[HEIGHT, WIDTH], counts=[])),
    (None, dict(size=[0, 5], counts=[0])), (None, dict(size=[5], counts=[5])), (None, dict(size=[5, 1, 1], counts=[5])),
    (None, dict(size=[10**6, 10**6], counts=[10**12])), (None, dict(size=None)), (None, {})])
def test_what_is_invalid_is_left_out(box, outline, image):
    plain = draw_sample(Sample(image, []))
    assert (draw_sample(Sample(image, [Annotation(-1, 'cat', box, outline)])) == plain).all()


def test_large_numbers_and_unusual_names_are_drawn(image):
    plain = draw_sample(Sample(image, []))
    for annotation in (Annotation(-1, 'café ☃', [20, 10, 9, 9], None), Annotation(-1, '', [1e300, -1e300, 9, 9], None),
                       Annotation(-1, '', None, [[1e300, 0, 0, 1e300, 5, 5]])):
        assert (draw_sample(Sample(image, [annotation])) != plain).any()


def test_files_that_cannot_be_read(image, tmp_path):
    (tmp_path / 'b.png').write_text('text')
    notice = draw_sample(Sample(str(tmp_path / 'b.png'), []))
    assert notice.shape == (SIDE * 3 // 4, SIDE, 3) and notice[MARGIN:, MARGIN:].min() < 100 < notice.max() == 200
    plain = draw_sample(Sample(image, []))
    assert (draw_sample(Sample(image, [], str(tmp_path / 'b.png'))) == plain).all()
