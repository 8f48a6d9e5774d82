"""Images and COCO files in a folder become the data sets of a detector; what mmdet cannot use is repaired in a copy."""
import json
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from data_folders import checked_folder, edit
from helpers import raises
from mmengine.registry import DATASETS, METRICS
from PIL import Image

from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')

HEIGHT, WIDTH = 40, 60
PARTS = 'train', 'val'
POLYGON = [[2, 3, 22, 3, 22, 33, 2, 33]]
NAN, INF = float('nan'), float('inf')


@pytest.fixture
def folder(tmp_path):
    """Two images in each part, with two objects and a crowd each; the ids of the categories are 3 and 7."""
    folder = tmp_path / 'fruit'
    (folder / 'annotations').mkdir(parents=True)
    for part in PARTS:
        (folder / part).mkdir()
        content = dict(images=[], annotations=[], categories=[dict(id=3, name='nut'), dict(id=7, name='date')])
        numbers = count(1)
        for i in range(2):
            Image.new('RGB', (WIDTH, HEIGHT), (99 * i, 0, len(part))).save(folder / part / f'{part}{i}.jpg')
            content['images'].append(dict(id=10 + i, file_name=f'{part}{i}.jpg', width=WIDTH, height=HEIGHT))
            for category, crowd in (7, 0), (3, 0), (3, 1):
                content['annotations'].append(dict(
                    id=next(numbers), image_id=10 + i, category_id=category, bbox=[2, 3, 20, 30], area=600,
                    iscrowd=crowd, segmentation=POLYGON))
        (folder / f'annotations/instances_{part}.json').write_text(json.dumps(content))
    return folder


def file_of(folder: Path, part: str) -> Path:
    return folder / f'annotations/instances_{part}.json'


def change(folder: Path, part: str, number: int, **values) -> None:
    edit(file_of(folder, part), lambda content: content['annotations'][number].update(values))


def content_of(data, part: str) -> dict:
    config = getattr(data, part)
    return json.loads(Path(config['data_root'], config['ann_file']).read_text(encoding='utf-8'))


def ids_of(content: dict) -> list:
    return [annotation['id'] for annotation in content['annotations']]


def evaluate(data) -> dict:
    """Returns the figures of detections that are equal to the objects, with mmdet's own data set and metric."""
    import torch
    from mmdet import datasets, evaluation  # noqa: F401
    for part in filter(None, (data.train, data.val)):
        load = dict(type='LoadAnnotations', with_bbox=True, with_mask=data.has_masks)
        dataset = DATASETS.build(dict(part, pipeline=[dict(type='LoadImageFromFile'), load], _scope_='mmdet'))
        loaded = [dataset[i] for i in range(len(dataset))]
    metric = METRICS.build(dict(type='CocoMetric', ann_file=data.val_file, _scope_='mmdet', classwise=True,
                                metric=['bbox', 'segm'] if data.has_masks else 'bbox'))
    metric.dataset_meta = dataset.metainfo
    for sample in loaded:
        chosen = ~sample['gt_ignore_flags']
        found = dict(bboxes=sample['gt_bboxes'].tensor[chosen], labels=torch.tensor(sample['gt_bboxes_labels'][chosen]),
                     scores=torch.ones(int(chosen.sum())))
        if data.has_masks:
            found['masks'] = torch.tensor(sample['gt_masks'].to_ndarray()[chosen]).bool()
        metric.process({}, [dict(pred_instances=found, img_id=sample['img_id'], ori_shape=(HEIGHT, WIDTH))])
    return metric.evaluate(len(dataset))


def test_files_without_faults_stay_as_they_are(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = checked_folder('coco_folder', 'fruit', out='out')
    assert data.val_file == 'fruit/annotations/instances_val.json' and not Path('out').exists()
    assert data.train['data_root'] == 'fruit/' and data.train['ann_file'] == 'annotations/instances_train.json'
    assert data.classes == ('nut', 'date') and data.has_masks and (data.count('train'), data.count('val')) == (2, 2)
    assert evaluate(data)['coco/segm_mAP'] == 1


@pytest.mark.parametrize('ids', [
    [0, 1, 2, 3, 4, 5], ['a', 'b', 'c', 'd', 'e', ''], [1, 1, 2, 2, 3, 3], [-1, .5, 1.5, True, False, None],
    [2**53, 10**400, 2**60, NAN, INF, 4.]])
def test_annotations_get_unique_positive_integers(ids, folder, capsys):
    """With the id 0, an object counts as not found; text fails after the first epoch."""
    for part in PARTS:
        for number, value in enumerate(ids):
            change(folder, part, number, id=value)
    before = file_of(folder, 'val').read_bytes()
    data = checked_folder('coco_folder', folder)
    found = ids_of(content_of(data, 'val'))
    assert all(type(number) is int and 0 < number < 2**53 for number in found) and len(set(found)) == 6
    assert 'ids of annotations that are' in capsys.readouterr().err and file_of(folder, 'val').read_bytes() == before
    assert evaluate(data)['coco/segm_mAP'] == 1


@pytest.mark.parametrize('part', PARTS)
def test_some_objects_without_mask_are_an_error(part, folder):
    """The error names the first one and both remedies; boxes alone are another task, and need none."""
    for mask in None, [[10, 10, 20, 20]], dict(size=[HEIGHT, WIDTH], counts=[100, 50]):
        change(folder, part, 4, segmentation=mask, id='e-5')
        with raises(UsageError, f'{file_of(folder, part)}: 1 of 6 annotations', 'correct the masks', '--boxes-only'):
            checked_folder('coco_folder', folder)
        data = checked_folder('coco_folder', folder, boxes_only=True)
        assert not data.has_masks and evaluate(data)['coco/bbox_mAP'] == 1


@pytest.mark.parametrize('mask, reason', [
    ([[[2, 3], [22, 3], [22, 33]]], 'a list of x1, y1'), ([['2', '3', '22', '3', '2', '3']], 'numbers from'),
    ([[1, 2]], 'three points'), (dict(size=[1, 1], counts=[1]), 'for the size of the image')])
def test_masks_that_are_given_and_unusable_are_an_error(mask, reason, folder):
    """Boxes alone would be another task."""
    for part in PARTS:
        for number in range(6):
            change(folder, part, number, segmentation=mask)
    with raises(UsageError, '6 of 6 annotations', reason, '--boxes-only'):
        checked_folder('coco_folder', folder)
    assert not checked_folder('coco_folder', folder, boxes_only=True).has_masks


@pytest.mark.parametrize('mask', [None, [], {}, [[]]])
def test_no_object_has_a_mask(mask, folder, capsys):
    for part in PARTS:
        for number in range(6):
            change(folder, part, number, segmentation=mask)
    data = checked_folder('coco_folder', folder)
    assert not data.has_masks and 'boxes' in capsys.readouterr().out
    assert evaluate(data)['coco/bbox_mAP'] == 1


def test_masks_of_crowds_alone_are_said_to_be_none(folder, capsys):
    for part in PARTS:
        for number in range(5):
            change(folder, part, number, segmentation=None)
        change(folder, part, 5, iscrowd=1)
    assert not checked_folder('coco_folder', folder).has_masks
    assert 'no object has a mask, crowds aside' in capsys.readouterr().out


def test_missing_fields_are_added(folder, capsys):
    """pycocotools fails without iscrowd, and mmdet without area."""
    for part in PARTS:
        edit(file_of(folder, part), lambda content: [a.pop(key) for a in content['annotations']
                                                     for key in ('id', 'area', 'iscrowd')])
    data = checked_folder('coco_folder', folder)
    err = capsys.readouterr().err
    assert 'iscrowd is missing (6 annotations)' in err and 'areas that are missing or not finite (6' in err
    content = content_of(data, 'val')
    assert {(a['area'], a['iscrowd']) for a in content['annotations']} == {(600, 0)}
    assert ids_of(content) == [1, 2, 3, 4, 5, 6] and evaluate(data)['coco/segm_mAP'] > 0


@pytest.mark.parametrize('values, message', [
    (dict(area=0), 'the field area'), (dict(area=.25), 'the field area'), (dict(ignore=1), 'leaves out 6 of 6'),
    (dict(iscrowd=1), 'leaves out 6 of 6'), (dict(iscrowd='0'), 'leaves out 6 of 6')])
@pytest.mark.parametrize('part', PARTS)
def test_objects_that_are_dropped_without_a_word(values, message, part, folder, capsys):
    """By mmdet, or by pycocotools from the figures by size; of all objects, that is an error."""
    change(folder, part, 0, **values)
    checked_folder('coco_folder', folder)
    assert f'{file_of(folder, part)}: ' in capsys.readouterr().err
    for number in range(6):
        change(folder, part, number, **values)
    with raises(UsageError, file_of(folder, part), message):
        checked_folder('coco_folder', folder)


@pytest.mark.parametrize('train, val', [
    ((7, 3), (7, 3)), ((3, 7), (7, 3)), ((7, 3), (1, 9)), ((-1, -9), (0, -1))])
def test_each_class_has_its_own_figures(train, val, folder):
    """Ids of categories only connect annotations with names; pycocotools sorts them, and mmdet does not."""
    for part, ids in zip(PARTS, (train, val)):
        def number(content):
            content['categories'] = [dict(id=value, name=name) for value, name in zip(ids, ('nut', 'date'))]
            content['annotations'] = [
                dict(annotation, category_id=ids[annotation['category_id'] == 7]) for annotation in
                content['annotations'] if part == 'train' or annotation['category_id'] == 3]
        edit(file_of(folder, part), number)
    data = checked_folder('coco_folder', folder)
    figures = evaluate(data)
    assert figures['coco/nut_precision'] == 1 and np.isnan(figures['coco/date_precision'])
    names = dict(zip(train, ('nut', 'date')))  # which stay, so that predictions fit the user's file
    found = content_of(data, 'train')['categories']
    assert {category['id']: category['name'] for category in found} == names
    assert data.classes == tuple(names[number] for number in sorted(names))
    assert data.val['metainfo']['category_ids'] == tuple(sorted(names))


@pytest.mark.parametrize('categories, used', [
    ([dict(id=7, name='date'), dict(id=3, name='nut')], [7, 3]),  # different order
    ([dict(id=1, name='date')], [1, 1]),  # different ids, and one class is missing
    ([dict(id=3, name='nut'), dict(id=7, name='date'), dict(id=9, name='none')], [7, 3])])
def test_categories_are_matched_by_name(folder, categories, used):
    def write(content):
        content['categories'] = categories
        for annotation in content['annotations']:
            annotation['category_id'] = used[annotation['category_id'] == 3]
    edit(file_of(folder, 'val'), write)
    data = checked_folder('coco_folder', folder)
    assert evaluate(data)['coco/segm_mAP'] == 1 and data.val['metainfo']['classes'] == ('nut', 'date')
    assert len(set(data.val['metainfo']['palette'])) == 2  # not the first colors of COCO, which are two reds
    names = {category['id']: category['name'] for category in categories}
    new = {category['id']: category['name'] for category in content_of(data, 'val')['categories']}
    assert [new[a['category_id']] for a in content_of(data, 'val')['annotations']][:2] == [names[i] for i in used]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_other_encodings_are_repaired(encoding, folder, capsys):
    """In a copy, which mmdet reads."""
    for part in PARTS:
        file = file_of(folder, part)
        file.write_text(file.read_text(encoding='utf-8'), encoding=encoding)
    assert evaluate(checked_folder('coco_folder', folder))['coco/segm_mAP'] == 1
    assert 'encoding' in capsys.readouterr().err


@pytest.mark.parametrize('names', [
    ('images', 'annotations/instances.json'), ('train', 'annotations/instances_train.json')])
def test_images_are_split(names, folder):
    shutil.rmtree(folder / 'val')
    with raises(UsageError, f'{folder}/val', '--val-fraction'):
        checked_folder('coco_folder', folder)
    (folder / 'train').rename(folder / names[0])
    file_of(folder, 'train').rename(folder / names[1])
    change(folder, 'train' if 'train' in names else 'val', 0)
    (folder / names[1]).touch()
    data = checked_folder('coco_folder', folder, val_fraction=.5)
    assert (data.count('train'), data.count('val')) == (1, 1) and evaluate(data)['coco/segm_mAP'] == 1
    splits = [checked_folder('coco_folder', folder, val_fraction=.5, split_seed=seed) for seed in range(9)]
    assert {content_of(data, 'val')['images'][0]['id'] for data in splits} == {10, 11}


def test_both_parts_of_a_split_have_objects(folder):
    """A crowd, or an object that mmdet leaves out, is none."""
    shutil.rmtree(folder / 'val')
    edit(file_of(folder, 'train'), lambda content: content['annotations'].pop(4))
    change(folder, 'train', 3, iscrowd=1)
    with raises(UsageError, 'val_fraction', 'two different images with objects', 'got 1'):
        checked_folder('coco_folder', folder, val_fraction=.5)
    change(folder, 'train', 3, iscrowd=0)
    checked_folder('coco_folder', folder, val_fraction=.5)


def test_other_data_are_tested_with_the_classes_of_a_training(folder):
    shutil.rmtree(folder / 'train')
    file_of(folder, 'train').unlink()
    data = checked_folder('coco_folder', folder, classes=('pea', 'date', 'nut'))
    assert not data.train and data.count('val') == 2
    names = [category['name'] for category in content_of(data, 'val')['categories']]
    assert names == ['pea', 'date', 'nut'] and evaluate(data)['coco/segm_mAP'] == 1
    with raises(UsageError, 'nut', 'date'):
        checked_folder('coco_folder', folder, classes=('date', 'pea'))


def test_names_of_files_may_be_absolute(folder, tmp_path, capsys):
    """Also through a link to the folder."""
    (tmp_path / 'link').symlink_to(folder)
    for part, root in ('train', folder), ('val', tmp_path / 'link'):
        edit(file_of(folder, part), lambda content: [
            image.update(file_name=str(root / part / image['file_name'])) for image in content['images']])
    data = checked_folder('coco_folder', folder)
    assert 'left out' not in capsys.readouterr().err and evaluate(data)['coco/segm_mAP'] == 1
    Image.new('RGB', (9, 9)).save(folder / 'val/more.jpg')
    checked_folder('coco_folder', folder)
    assert '1 of 3 images are not in it and are left out, e.g. more.jpg' in capsys.readouterr().err
