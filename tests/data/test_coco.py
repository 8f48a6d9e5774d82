"""Common mistakes in COCO files are errors if they affect at least half of the annotations, and warnings otherwise."""
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from mmvit_backbones.data.coco import coco_mistakes, complete, read_coco, report_images, sums_of_run_lengths
from mmvit_backbones.errors import UsageError

WIDTH, HEIGHT = 64, 48


@pytest.fixture
def content(tmp_path):
    """Ten images with one annotation each: a box and a polygon, to the right of and below the center."""
    Image.new('RGB', (WIDTH, HEIGHT)).save(tmp_path / '0.png')
    for i in range(1, 10):
        (tmp_path / f'{i}.png').symlink_to('0.png')
    return dict(
        images=[dict(id=i, file_name=f'{i}.png', width=WIDTH, height=HEIGHT) for i in range(10)],
        annotations=[dict(id=i, image_id=i, category_id=1 + i % 3, bbox=[33. + i, 25, 20, 16], area=320., iscrowd=0,
                          segmentation=[[33. + i, 25, 53 + i, 25, 53 + i, 41, 33 + i, 41]]) for i in range(10)],
        categories=[dict(id=i, name=name) for i, name in enumerate('abc', 1)])


def mistakes(content, folder, **options) -> list[tuple[bool, str]]:
    found = coco_mistakes('file.json', content, str(folder), **options)
    return [(mistake.is_error, mistake.text) for mistake in found]


def to_corners(annotation):
    x, y, width, height = annotation['bbox']
    annotation['bbox'] = [x, y, x + width, y + height]


def to_corners_without_outline(annotation):
    to_corners(annotation)
    annotation['segmentation'] = None


def shrink_outline(annotation):
    annotation['segmentation'] = [[value / 64 for value in annotation['segmentation'][0]]]


def move_outline(annotation):
    annotation['segmentation'] = [[value / 2 for value in annotation['segmentation'][0]]]


@pytest.mark.parametrize('change, reason', [
    (to_corners, 'a box is x, y, width, height, not x1, y1, x2, y2'),
    (to_corners_without_outline, 'a box is x, y, width, height, not x1, y1, x2, y2'),
    (shrink_outline, 'do not match their boxes; they have values from 0 to 1'),
    (move_outline, 'do not match their boxes; boxes and segmentations may be for different image sizes'),
    (lambda annotation: annotation.update(bbox=[0.1, 0.1, 0.5, 0.5]), 'coordinates from 0 to 1'),
    (lambda annotation: annotation.update(category_id=9), 'category_id not in the list of categories')])
def test_half_of_the_annotations_decides(change, reason, content, tmp_path):
    assert not mistakes(content, tmp_path)
    for first, number, is_error in ((0, 3, False), (3, 5, True)):
        for annotation in content['annotations'][first:number]:
            change(annotation)
        found = mistakes(content, tmp_path)
        assert any(is_error == error and reason in text and f'{number} of 10 annotations' in text
                   for error, text in found), found


def test_only_crowds_are_an_error(content, tmp_path):
    """Many crowds may be intended."""
    for number, is_error in ((9, False), (10, True)):
        for annotation in content['annotations'][:number]:
            annotation['iscrowd'] = 1
        assert [error for error, text in mistakes(content, tmp_path) if 'iscrowd=1' in text] == [is_error]


def test_many_outlines_are_sampled(content, tmp_path):
    for annotation in content['annotations'][:6]:
        shrink_outline(annotation)
    (is_error, text), = mistakes(content, tmp_path, num_outlines=5)  # compares every second segmentation
    assert is_error and 'segmentations of 3 of 5 annotations (ids 0, 2, 4)' in text
    for annotation in content['annotations'][:6]:
        annotation['segmentation'] = [[1, 2, 3, 4]]
    (is_error, text), = mistakes(content, tmp_path, num_outlines=5)
    assert is_error and 'leaves out 6 of 10 annotations' in text


def test_area_of_an_outline_may_differ_from_the_box(content, tmp_path):
    """The area of a segmentation may equal the area of the box read as two corners."""
    counts = [0, 100, WIDTH * HEIGHT - 100]
    content['annotations'][3].update(bbox=[10, 10, 20, 20], area=100,
                                     segmentation=dict(size=[HEIGHT, WIDTH], counts=counts))
    assert not mistakes(content, tmp_path)
    content['annotations'][3]['segmentation'] = None
    assert mistakes(content, tmp_path)


def test_affected_images_are_named(content, tmp_path):
    to_corners(content['annotations'][4])
    found = coco_mistakes('file.json', content, str(tmp_path))
    assert {image for mistake in found for image in mistake.images} == {str(tmp_path / '4.png')}


@pytest.mark.parametrize('shift', [1, -1])
def test_ids_that_are_shifted_by_one(shift, content, tmp_path):
    for annotation in content['annotations']:
        annotation['category_id'] += shift
    (is_error, text), = mistakes(content, tmp_path)
    assert is_error and 'shifted by one' in text


def test_images_with_one_file(content, tmp_path):
    for image in content['images'][:3]:
        image['file_name'] = '0.png'
    (is_error, text), = mistakes(content, tmp_path)
    assert not is_error and '2 of 10 images have the same file' in text
    for image in content['images']:
        image['file_name'] = '0.png'
    (is_error, text), = mistakes(content, tmp_path)
    assert is_error and '9 of 10 images' in text


@pytest.mark.parametrize('name', [None, 7, ' '])
def test_names_of_categories_are_text(name, content, tmp_path):
    content['categories'][0]['name'] = name
    (is_error, text), = mistakes(content, tmp_path)
    assert is_error and 'the name of a class must be a string' in text


@pytest.mark.parametrize('key, field, value', [
    ('images', 'file_name', 7), ('images', 'id', [1]), ('annotations', 'image_id', {}),
    ('annotations', 'category_id', [1]), ('categories', 'id', None)])
def test_types_of_entries(key, field, value, content, tmp_path):
    content[key][1][field] = value
    (tmp_path / 'file.json').write_text(json.dumps(content))
    with pytest.raises(UsageError, match=f'{field} of {key} must be a string'):
        read_coco(str(tmp_path / 'file.json'))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_encodings(encoding, content, tmp_path):
    content['categories'][0]['name'] = 'café'
    (tmp_path / 'file.json').write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)
    assert read_coco(str(tmp_path / 'file.json')) == content


# ---- completion


def test_what_annotations_lack_is_filled_in(content, tmp_path):
    expected = json.loads(json.dumps(content))
    for annotation in content['annotations']:
        for key in ('iscrowd', 'area', 'id'):
            del annotation[key]
    content['annotations'][3]['id'] = 70
    content['annotations'][4]['segmentation'] = None
    content['annotations'][5]['segmentation'] = []
    content['categories'][1]['name'] = ' b\n'
    assert len(complete(content)) == 4
    assert not mistakes(content, tmp_path) and content['categories'] == expected['categories']
    assert [a['area'] for a in content['annotations']] == [320] * 10
    assert len({a['id'] for a in content['annotations']}) == 10
    assert not complete(content)


def test_what_evaluation_needs(content, tmp_path):
    """Without iscrowd, evaluation with pycocotools would fail after the first epoch. Training does not need iscrowd."""
    del content['annotations'][3]['iscrowd']
    (is_error, text), = mistakes(content, tmp_path)
    assert is_error and 'iscrowd of annotations 3' in text
    assert not mistakes(content, tmp_path, is_evaluated=False)


# ---- run lengths


def encoded(seed: int) -> dict:
    random = np.random.default_rng(seed)
    mask = random.random((HEIGHT, WIDTH)) < random.choice([0.02, 0.5, 0.98])
    mask[:, :random.integers(WIDTH)] = seed % 2
    found = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=found['size'], counts=found['counts'].decode())


def test_sums_of_compressed_run_lengths():
    texts = [encoded(seed)['counts'] for seed in range(20)]
    assert sums_of_run_lengths(texts).tolist() == [WIDTH * HEIGHT] * 20
    assert sums_of_run_lengths(['zzzz', '', 'é', texts[0][:-1]]).tolist()[:3] == [-1] * 3
    assert sums_of_run_lengths([texts[0][:-1], texts[1]]).tolist()[0] != WIDTH * HEIGHT


@pytest.mark.parametrize('counts', [
    'zzzz', 'Xo0hIPW2', '', [], [5], [1000, 200, WIDTH * HEIGHT - 1199], [1000, -200, WIDTH * HEIGHT - 800], ['a'],
    encoded(1)['counts'][:-2], encoded(1)['counts'] + '5'])
def test_run_lengths_that_do_not_add_up(counts, content, tmp_path):
    content['annotations'][3]['segmentation'] = dict(size=[HEIGHT, WIDTH], counts=counts)
    (is_error, text), = mistakes(content, tmp_path)
    assert is_error and 'segmentation of annotations 3 must be run lengths whose sum' in text


@pytest.mark.parametrize('counts', [
    encoded(1)['counts'], encoded(2)['counts'], [0, WIDTH * HEIGHT], [5, 9, WIDTH * HEIGHT - 14]])
def test_run_lengths_that_add_up(counts, content, tmp_path):
    content['annotations'][3]['segmentation'] = dict(size=[HEIGHT, WIDTH], counts=counts)
    assert not mistakes(content, tmp_path)


def test_images_are_accounted_for(content, tmp_path, capsys):
    report_images({str(tmp_path): [content]})
    assert '10 images in the annotation files, 0 without annotations' in capsys.readouterr().out
    report_images({str(tmp_path): [dict(content, images=content['images'][:7])]})
    assert '3 of 10 images are not in the annotation files and are left out, e.g. 7.png' in capsys.readouterr().err
    for name in '.7.png', 'notes.txt':
        (tmp_path / name).write_bytes(b'')
    report_images({str(tmp_path): [dict(content, images=content['images'][:7])]})
    assert '3 of 10 images' in capsys.readouterr().err  # hidden files and files with other suffixes are not counted
