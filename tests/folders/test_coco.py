"""Common problems in COCO files are errors if they affect at least half of the annotations, and warnings otherwise."""
import json

import numpy as np
import pytest
from helpers import raises
from PIL import Image
from pycocotools.mask import encode

from mmvit.folders.coco import Coco, report_images
from mmvit.folders.coco_rules import coco_problems
from mmvit_backbones.errors import UsageError

WIDTH, HEIGHT = 64, 48
RIGHT = [36, 25, 56, 25, 56, 41, 36, 41]


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


def problems(content, folder, is_rare_told: bool = False, **options) -> list[tuple[bool, str]]:
    """Returns the problems, without that all categories are in few images."""
    coco = Coco('file.json', content, str(folder), **dict(dict(is_evaluated=False), **options))
    return [(problem.is_error, problem.text) for problem in coco_problems(coco)
            if is_rare_told or 'even share' not in problem.text]


def errors(content, folder, **options) -> list[str]:
    return [text for is_error, text in problems(content, folder, **options) if is_error]


def to_corners(annotation):
    x, y, width, height = annotation['bbox']
    annotation['bbox'] = [x, y, x + width, y + height]


def to_corners_without_mask(annotation):
    to_corners(annotation)
    annotation['segmentation'] = None


def shrink_mask(annotation):
    annotation['segmentation'] = [[value / 64 for value in annotation['segmentation'][0]]]


def move_mask(annotation):
    annotation['segmentation'] = [[value / 2 for value in annotation['segmentation'][0]]]


def row_by_row(annotation):
    """Writes run lengths of the box in the order of NumPy, as own converters do."""
    x, y, width, height = map(int, annotation['bbox'])
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y:y + height, x:x + width] = 1
    annotation['segmentation'] = dict(size=[HEIGHT, WIDTH], counts=np.diff(
        np.flatnonzero(np.diff(mask.ravel(), prepend=0, append=0)), prepend=0, append=mask.size).tolist())


@pytest.mark.parametrize('change, reason', [
    (to_corners, 'a box is x, y, width, height'), (to_corners_without_mask, 'a box is x, y, width, height'),
    (shrink_mask, 'multiply x by the width'),
    (move_mask, 'do not match their boxes; polygons have pixels'), (row_by_row, "order='F'"),
    (lambda annotation: annotation.update(segmentation=dict(size=[HEIGHT, WIDTH], counts=[0, WIDTH * HEIGHT])),
     'begin with the number of zeros'),
    (lambda annotation: annotation.update(bbox=[0.1, 0.1, 0.5, 0.5]), 'coordinates from 0 to 1')])
def test_half_of_the_annotations_decides(change, reason, content, tmp_path):
    assert not problems(content, tmp_path)
    for first, number, is_error in ((0, 3, False), (3, 5, True)):
        for annotation in content['annotations'][first:number]:
            change(annotation)
        found = problems(content, tmp_path)
        assert any(is_error == error and reason in text and f'{number} of 10 annotations' in text
                   for error, text in found), found


def test_right_run_lengths(content, tmp_path):
    for annotation in content['annotations']:
        x, y, width, height = map(int, annotation['bbox'])
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
        mask[y:y + height, x:x + width] = 1
        annotation['segmentation'] = dict(size=[HEIGHT, WIDTH], counts=encode(mask)['counts'].decode())
    assert not problems(content, tmp_path, needs_masks=True)


@pytest.mark.parametrize('shift', [1, -1])
def test_ids_that_are_shifted_by_one(shift, content, tmp_path):
    """The others have the class of a neighbor, so a single object without a category is an error."""
    for annotation in content['annotations']:
        annotation['category_id'] += shift
    text, = errors(content, tmp_path)
    assert 'category_id not in the list' in text and 'shifted by one' in text


def test_images_with_one_file(content, tmp_path):
    for number, is_error in (2, False), (5, False), (6, True), (10, True):
        for image in content['images'][:number]:
            image['file_name'] = '0.png'
        (found, text), = problems(content, tmp_path)
        assert found == is_error
        assert f'{number - 1} of 10 images have the same file as another image, e.g. 0.png' in text


@pytest.mark.parametrize('key, field, value', [
    ('images', 'file_name', 7), ('images', 'id', [1]), ('annotations', 'image_id', {}),
    ('annotations', 'image_id', None), ('annotations', 'category_id', [1]),
    ('annotations', 'category_id', None), ('categories', 'id', None),
    ('categories', 'id', .5), ('categories', 'id', '2'),
    ('images', 'id', float('nan')), ('categories', 'name', None), ('categories', 'name', 7),
    ('categories', 'name', ' '), ('categories', 'name', 'a\nb')])
def test_types_of_entries(key, field, value, content, tmp_path):
    content[key][1][field] = value
    (tmp_path / 'file.json').write_text(json.dumps(content))
    with raises(UsageError, 'file.json', f'{field} ', key, repr(value)):
        Coco.read(str(tmp_path / 'file.json'), str(tmp_path))


@pytest.mark.parametrize('text', ['', '[]', '{}', 'text', '{"images": 1}', '{"images": [{}]}', '[' * 100_000])
def test_files_in_another_format(text, tmp_path):
    (tmp_path / 'file.json').write_text(text)
    with raises(UsageError, 'file.json is not in COCO format'):
        Coco.read(str(tmp_path / 'file.json'), str(tmp_path))


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_missing_and_repeated_entries(key, content, tmp_path):
    content[key].append(content[key][0])
    assert any(f'ids of {key} must be ' in text for text in errors(content, tmp_path))
    (tmp_path / 'file.json').write_text(json.dumps({**content, key: []}))
    with raises(UsageError, f'{key} is empty'):
        Coco.read(str(tmp_path / 'file.json'), str(tmp_path))


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / 'latin.json').write_bytes('{"é": 1}'.encode('latin-1'))
    for name, words in ('none.json', 'No such file'), ('', 'Is a directory'), ('latin.json', 'utf-8'):
        with raises(UsageError, tmp_path / name, words):
            Coco.read(str(tmp_path / name), str(tmp_path))


def test_missing_categories_are_added_in_the_order_of_the_classes(content, tmp_path):
    """Ids ascend, as pycocotools sorts them; annotations keep the names of their categories, unknown ones none."""
    content['annotations'][0]['category_id'] = 5
    names = dict(enumerate('abc', 1))
    before = [names.get(annotation['category_id']) for annotation in content['annotations']]
    coco, repairs = Coco('file.json', content, str(tmp_path), classes=('new', 'other', 'c', 'a', 'b')), []
    coco_problems(coco, repairs)
    assert coco.names == ('new', 'other', 'c', 'a', 'b') and repairs
    ids = [category['id'] for category in coco.categories]
    assert ids == sorted(set(ids)) and len(ids) == 5
    names = {category['id']: category['name'] for category in coco.categories}
    assert [names.get(annotation['category_id']) for annotation in coco.annotations] == before


@pytest.mark.parametrize('number', [0, 'a', -1, 1.5, True, 2**60])
def test_ids_that_pycocotools_cannot_use(number, content, tmp_path):
    for annotation in content['annotations']:
        annotation['id'] += 2
    assert not problems(content, tmp_path, is_evaluated=True)
    content['annotations'][3]['id'] = number
    text, = errors(content, tmp_path, is_evaluated=True)
    assert f'id of annotations {number} must be' in text and '--coco-folder' in text
    assert not problems(content, tmp_path)


@pytest.mark.parametrize('mask, is_usable', [
    (None, False), ([], False), ([[]], False), ([[1, 2]], False), ([[1, 2, 3, 4]], False), ([1, 2, 3, 4, 5, 6], False),
    ([[[1, 2], [3, 4], [5, 6]]], False), ([[float('nan'), 1, 2, 3, 4, 5]], False), ([[10**400, 1, 2, 3, 4, 5]], False),
    ([[1e300, 1, 2, 3, 4, 5]], False), ([['1'] * 6], False), ([RIGHT, [1, 2, 3]], False), ([[1, 2], RIGHT], False),
    ('text', False), (7, False), ([RIGHT, [1, 2]], True), ([RIGHT, [1, 2, 3, 4]], True), ([RIGHT], True)])
@pytest.mark.parametrize('crowd', [0, 1])
def test_masks_that_cannot_be_used(mask, is_usable, crowd, content, tmp_path):
    """Later polygons of one or two points have no effect in mmdet and pycocotools."""
    content['annotations'][3].update(segmentation=mask, iscrowd=crowd)
    found = errors(content, tmp_path, needs_masks=True)
    assert len(found) == (not is_usable)
    assert is_usable or '1 of 10 annotations have no mask that can be used, the first is annotation 3: ' in found[0]
    assert not errors(content, tmp_path)


SIZE = dict(size=[HEIGHT, WIDTH])


@pytest.mark.parametrize('mask', [
    dict(SIZE, counts=[100, 50]), dict(SIZE, counts=[3100, -28]), dict(SIZE, counts=[100, 50, 9000]),
    dict(SIZE, counts=[]),
    dict(SIZE, counts=[100., 2972.]), dict(SIZE, counts=['a']), dict(SIZE, counts=[10**400]), dict(SIZE, counts=''),
    dict(SIZE, counts='ö'), dict(SIZE, counts='o' * 1000), dict(SIZE, counts='P1'), dict(SIZE, counts=None), SIZE,
    dict(counts=[3072]), dict(size=[WIDTH, HEIGHT], counts=[3072]), dict(size='40', counts=[3072])])
def test_run_lengths_that_cannot_be_used(mask, content, tmp_path):
    """pycocotools checks none, and may not end."""
    content['annotations'][3]['segmentation'] = mask
    text, = errors(content, tmp_path, needs_masks=True)
    assert 'the first is annotation 3: run lengths must be' in text


# ---- invalid entries


@pytest.mark.parametrize('key, value', [
    ('image_id', 99), ('bbox', None), ('bbox', [1, 2, 3]), ('bbox', 'text'),
    ('bbox', [1, 2, 3, 'a']), ('bbox', [1, 2, 10**400, 4]), ('bbox', [1, 2, float('nan'), 4]), ('area', None),
    ('area', 'a'), ('area', float('inf'))])
def test_invalid_values_are_named(key, value, content, tmp_path):
    content['annotations'][3][key] = value
    text, = errors(content, tmp_path)
    assert f'{key} of annotations 3 must be' in text
    for annotation in content['annotations']:
        annotation[key] = value
    text, = errors(content, tmp_path)
    assert f'{key} of annotations 0, 1, 2 and 7 more must be' in text


@pytest.mark.parametrize('key', ['width', 'height'])
@pytest.mark.parametrize('value', [0, -3, None, 'a', float('inf')])
def test_sizes_of_images_are_positive_numbers(key, value, content, tmp_path):
    content['images'][3][key] = value
    text, = errors(content, tmp_path)
    assert 'width and height of images 3 must be' in text


def test_order_of_the_classes(content, tmp_path):
    """Other categories in the file are ignored."""
    for classes in 'abc', 'ac', 'c':
        assert not problems(content, tmp_path, classes=tuple(classes))
    for classes in 'bac', 'acb', 'abcd', 'ca':
        (is_error, text), = problems(content, tmp_path, classes=tuple(classes))
        assert is_error and 'order of the classes' in text
    content['categories'].reverse()
    assert problems(content, tmp_path, classes='abc') and not problems(content, tmp_path, classes='cba')
    (is_error, text), = problems({**content, 'annotations': content['annotations'][1:]}, tmp_path, classes='cba',
                                 is_evaluated=True)
    assert not is_error and 'classwise' in text


# ---- suspicious entries


@pytest.mark.parametrize('changes, reason', [
    (dict(bbox=[33, 25, -1, 16]), 'negative width'), (dict(bbox=[33, 25, 20, -1]), 'negative width'),
    (dict(bbox=[33, 25, 0, 16]), 'no area'), (dict(bbox=[33, 25, 20, 0]), 'no area'),
    (dict(bbox=[33, 25, 0.9, 16]), 'no area'), (dict(bbox=[33, 25, 20, 0.9]), 'no area'),
    (dict(area=0), 'field area'), (dict(area=-1), 'field area'), (dict(area=.3), 'field area'),
    (dict(bbox=[33, 25, 1, 1], area=1), None),
    (dict(bbox=[33, 25, 0, 16], segmentation=[[33, 25, 33, 41, 33, 30]]), 'no area'),
    (dict(bbox=[0, 0, 1.01, 1], area=1), 'coordinates from 0 to 1'), (dict(bbox=[0, 0, 1.5, 1.5], area=2), None),
    (dict(bbox=[64, 25, 20, 16]), 'box outside'), (dict(bbox=[33, 48, 20, 16]), 'box outside'),
    (dict(bbox=[-20, 25, 20, 16]), 'box outside'), (dict(bbox=[33, -16, 20, 16]), 'box outside'),
    (dict(bbox=[-19.5, 25, 20, 16]), 'with the part inside is 0.03'), (dict(bbox=[33, 47.5, 20, 2.5]), 'is 0.20'),
    (dict(bbox=[44, -30, 40, 50]), 'inside is 0.20'), (dict(bbox=[30, 9, 90, 20]), 'inside is 0.38'),
    (dict(bbox=[-10, 25, 20, 16]), None), (dict(bbox=[33, 33, 20, 30]), None),
    (dict(segmentation=[[36, 25, 56, 41, 36, 41]]), None),
    (dict(segmentation=[[36, 25, 46, 25, 46, 41, 36, 41]]), None),  # half of the box
    (dict(segmentation=[[36, 25, 45, 25, 45, 41]]), 'segmentations of 1 of 10 annotations (ids 3) do not match'),
    (dict(bbox=[33, 25, 1, 1], area=1, segmentation=[[10, 10, 11, 10, 11, 11]]), 'do not match'),
    (dict(bbox=[50, 25, 16, 16]), None), (dict(bbox=[10, 5, 60, 20]), 'seem to be x1, y1, x2, y2'),
    (dict(bbox=[10, 10, 30, 21], segmentation=[[10, 10, 30, 10, 30, 21]]), 'seem to be x1, y1, x2, y2'),
    (dict(bbox=[33, 25, -20, 16], ignore=1), 'negative width')])
def test_the_first_reason_counts(changes, reason, content, tmp_path):
    """An annotation is reported once."""
    annotation = content['annotations'][3]
    if 'bbox' in changes:
        annotation['segmentation'] = None
        annotation['area'] = abs(changes['bbox'][2] * changes['bbox'][3]) or 1
    annotation.update(changes)
    found = problems(content, tmp_path)
    assert len(found) == (reason is not None), found
    for is_error, text in found:
        assert not is_error and reason in text and '1 of 10 annotations (ids 3)' in text


def test_boxes_that_are_annotated_twice(content, tmp_path):
    """An object of another category, or a crowd, may have the same box."""
    for number, changes in enumerate((dict(), dict(bbox=[36.04, 25, 20, 16]), dict(category_id=2), dict(iscrowd=1))):
        content['annotations'].append(dict(content['annotations'][3], id=20 + number, **changes))
    text, = (text for _, text in problems(content, tmp_path) if 'repeat' in text)
    assert '2 of 14 annotations (ids 20, 21) repeat the box' in text


@pytest.mark.parametrize('classes', [None, 'abc', 'ab'])
def test_categories_without_objects(classes, content, tmp_path):
    """Categories of a file that a config does not name are not meant."""
    for annotation in content['annotations']:
        annotation['category_id'] = 1
    found = [text for is_error, text in problems(content, tmp_path, classes=classes) if not is_error]
    assert found == [f'file.json: there are no objects of the categories {"b" if classes == "ab" else "b, c"}']


@pytest.mark.parametrize('options, told', [({}, ': b;'), (dict(is_evaluated=True), ''), (dict(classes='ac'), '')])
@pytest.mark.parametrize('objects', [1, 10])
def test_rare_categories(objects, options, told, content, tmp_path):
    """In the training alone, and of the classes alone: in few images, or with few objects in ten of them."""
    for i in range(10, 400):
        content['annotations'].append(dict(content['annotations'][i % 10], id=i))
    for i, annotation in enumerate(content['annotations']):
        annotation['category_id'] = 2 if i < objects else 1  # c has none
    found = [text for _, text in problems(content, tmp_path, is_rare_told=True, **options) if 'even share' in text]
    assert [told in text for text in found] == [True] * bool(told)


def test_images_are_accounted_for(content, tmp_path, capsys, monkeypatch):
    """Hidden files, and files with other suffixes, are not counted."""
    report_images(Coco('file.json', content, str(tmp_path)))
    assert '10 images in the annotation file' in capsys.readouterr().out
    for name in '.7.png', 'notes.txt':
        (tmp_path / name).write_bytes(b'')
    some = Coco('file.json', dict(content, images=content['images'][:7]), str(tmp_path))
    report_images(some)
    assert '3 of 10 images are not in it and are left out, e.g. 7.png' in capsys.readouterr().err
    monkeypatch.setenv('RANK', '1')  # only the first process prints
    report_images(some)
    assert capsys.readouterr() == ('', '')


def test_ids_of_one_kind(content, tmp_path):
    """NumPy sorts numbers among strings as strings, which pycocotools does not find."""
    content['annotations'] = content['annotations'][1:]  # of other images
    content['images'][0]['id'] = 'a'
    assert any('ids of images must be' in text for text in errors(content, tmp_path))
