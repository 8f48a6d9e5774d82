"""Files and annotations of a config's data sets are checked before a run starts."""
import json

import pytest
from helpers import raises
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from PIL import Image

from mmvit.folders import rasters
from mmvit.folders.rules import Problem
from mmvit.running.data_set_files import check_data, config_problems, find_problems
from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')


def coco(folder, num_images: int = 4) -> dict:
    """Writes a COCO data set of black images, with one annotation each, and returns its config."""
    (folder / 'images').mkdir()
    for number in range(num_images):
        Image.new('RGB', (30, 20)).save(folder / f'images/{number}.png')
    content = dict(
        images=[dict(id=number, file_name=f'{number}.png', width=30, height=20) for number in range(num_images)],
        annotations=[dict(id=number + 1, image_id=number, category_id=1, bbox=[3, 3, 9, 9], area=81, iscrowd=0)
                     for number in range(num_images)], categories=[dict(id=1, name='cat')])
    (folder / 'a.json').write_text(json.dumps(content))
    return dict(type='CocoDataset', data_root=str(folder), ann_file='a.json', data_prefix=dict(img='images/'),
                metainfo=dict(classes=('cat', )))


def change(folder, key: str, number: int, **values) -> None:
    content = json.loads((folder / 'a.json').read_text())
    content[key][number].update(values)
    (folder / 'a.json').write_text(json.dumps(content))


def config(dataset: dict, **parts) -> Config:
    loader = dict(dataset=dataset)
    return Config(dict(dict(default_scope='mmdet', train_dataloader=loader, val_dataloader=loader), **parts))


def problems(dataset: dict, split: str = 'val', **parts) -> list[Problem]:
    return find_problems(dataset, config(dataset, **parts), split, [])


def test_which_images_are_compared_with_the_annotations(tmp_path, monkeypatch):
    """Sizes are compared for a sample of the images, and only by the first process."""
    dataset = coco(tmp_path)
    for number in 1, 3:
        change(tmp_path, 'images', number, width=60)
    for num_images in 1, 2, 3:  # with 2 and 3, every second image
        monkeypatch.setattr(rasters, 'IMAGES_TO_CHECK', num_images)
        assert not problems(dataset)
    monkeypatch.setattr(rasters, 'IMAGES_TO_CHECK', 4)
    text, = (problem.text for problem in problems(dataset))
    assert '1.png has 30 x 20 pixels, but the annotations say 60 x 20' in text and '2 of 4' in text
    found = config_problems(config(dataset), ['train'])
    assert sum('30 x 20' in problem.text for problem in found) == 2  # a full check lists all
    monkeypatch.setenv('RANK', '1')
    assert not problems(dataset)


def test_only_coco_format_is_checked(tmp_path):
    from mmdet.datasets import CocoDataset
    dataset = coco(tmp_path)
    change(tmp_path, 'annotations', 0, bbox=None)
    for kind in 'CocoDataset', 'mmdet.CocoDataset', CocoDataset:
        assert problems(dict(dataset, type=kind))
    for kind in 'LVISDataset', 'CocoPanopticDataset', 'CocoCaptionDataset':
        assert not problems(dict(dataset, type=kind))


def test_images_that_another_library_reads_are_not_looked_at(tmp_path):
    """As TIFF files of 13 bands, which OpenCV cannot read."""
    dataset = coco(tmp_path)
    (tmp_path / 'images/0.png').write_bytes(b'another format')
    assert problems(dataset)
    assert not problems(dict(dataset, pipeline=[dict(type='LoadImageFromFile', imdecode_backend='tifffile')]))


def test_order_of_the_classes_of_a_config(tmp_path):
    """Names may be in a file, as MMEngine allows; without names, they are those of the data set's type."""
    dataset = coco(tmp_path)
    for name, number in ('cat', 0), ('dog', 1):
        (tmp_path / f'{name}.txt').write_text(f'{name}\n')
        for names in str(tmp_path / f'{name}.txt'), (name, ):
            assert len(problems(dict(dataset, metainfo=dict(classes=names)))) == number
    found, = problems(dict(dataset, metainfo=None))
    assert found.is_error and 'order of the classes' in found.text


def test_a_test_looks_at_all_masks_that_it_counts(tmp_path, monkeypatch):
    """With the label that its metrics ignore; a training, with that of the loss, at a part of them."""
    from mmseg.datasets import LoadAnnotations
    monkeypatch.setattr(rasters, 'IMAGES_TO_CHECK', 2)
    for part in 'images', 'masks':
        (tmp_path / part).mkdir()
        for number in range(6):
            Image.new('L', (30, 20), 9 if (part, number) == ('masks', 5) else 1).save(tmp_path / f'{part}/{number}.png')
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    dataset = dict(type='BaseSegDataset', data_root=str(tmp_path), metainfo=dict(classes=('a', 'b')), img_suffix='.png',
                   data_prefix=dict(img_path='images', seg_map_path='masks'), pipeline=load)
    parts = dict(default_scope='mmseg', model=dict(decode_head=[dict(), dict(ignore_index=7)]))
    text, = (problem.text for problem in problems(dataset, 'test', **parts))
    assert '5.png has labels [9]; allowed are 0 to 1 and 255' in text
    assert not any(problem.is_error for problem in problems(
        dataset, 'test', **parts, test_evaluator=dict(type='IoUMetric', ignore_index=9)))
    assert not problems(dataset, 'val', **parts) and not problems(dataset, 'train', **parts)
    monkeypatch.setattr(rasters, 'IMAGES_TO_CHECK', 6)
    dataset['pipeline'] = [dict(type=LoadImageFromFile), dict(type=LoadAnnotations)]  # as in pure Python configs
    text, = (problem.text for problem in problems(dataset, 'train', **parts))
    assert 'allowed are 0 to 1 and 7' in text


@pytest.mark.parametrize('key', ['ann_file', 'label_file'])
def test_files_of_metrics_exist(key, tmp_path):
    dataset = coco(tmp_path)
    for file in str(tmp_path / 'a.json'), None:
        check_data(config(dataset, val_evaluator=[dict(type='x'), {'type': 'y', key: file}]), ['val'])
    cfg = config(dataset, val_evaluator={'type': 'x', key: str(tmp_path / 'none.json')})
    check_data(cfg, ['train'])
    with raises(UsageError, f'val_evaluator.{key}', tmp_path / 'none.json'):
        check_data(cfg, ['val'])


@pytest.mark.parametrize('framework, dataset, missing', [
    ('mmdet', dict(type='CocoDataset', data_root='in', ann_file='a/b.json', data_prefix=dict(img='c/')), 'in/a/b.json'),
    ('mmseg', dict(type='x', data_root='in', data_prefix=dict(img_path='a/b', seg_map_path='c')), 'in/a/b'),
    ('mmpretrain', dict(type='ImageNet', data_root='in', split='train'), 'in/train'),
    ('mmpretrain', dict(type='ImageNet', data_root='in', data_prefix='a'), 'in/a'),
    ('mmpretrain', dict(type='Flowers102', data_root='in', split='test'), 'in'),
    ('mmpretrain', dict(type='x', data_root='in', ann_file='a.txt', data_prefix='b'), 'in/a.txt')])
def test_missing_files_are_named(framework, dataset, missing, tmp_path, monkeypatch):
    """Data sets in remote storage are not checked."""
    monkeypatch.chdir(tmp_path)
    with raises(UsageError, tmp_path / missing, 'train_dataloader', '--data-root'):
        check_data(config(dataset, default_scope=framework), ['train'])
    check_data(config(dict(dataset, backend_args=dict(backend='petrel')), default_scope=framework), ['train'])


def test_cifar_may_be_missing():
    """mmpretrain downloads it."""
    check_data(config(dict(type='CIFAR100', data_root='none', split='test'), default_scope='mmpretrain'), ['val'])


def test_a_folder_must_have_files_and_a_file_must_not_be_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    cfg = config(dict(type='x', data_root='~', ann_file='a.txt', data_prefix='images'))
    (tmp_path / 'a.txt').mkdir()
    (tmp_path / 'images').mkdir()
    for missing in 'a.txt', 'images':
        with raises(UsageError, tmp_path / missing, 'missing, empty or not readable'):
            check_data(cfg, ['train'])
        if missing == 'a.txt':
            (tmp_path / 'a.txt').rmdir()
            (tmp_path / 'a.txt').touch()
    (tmp_path / 'images/a.png').touch()
    check_data(cfg, ['train'])


@pytest.mark.parametrize('load, metric', [(True, 'bbox'), (False, ['bbox', 'segm'])])
def test_masks_are_checked_where_they_are_used(load, metric, tmp_path):
    dataset = coco(tmp_path)
    for number in range(4):
        change(tmp_path, 'annotations', number, segmentation=[[1, 2]] if number else [[3, 3, 12, 3, 12, 12, 3, 12]])
    check_data(config(dataset), ['train', 'val'])
    cfg = config(dict(dataset, pipeline=[dict(type='LoadAnnotations', with_mask=load)]),
                 val_evaluator=dict(type='CocoMetric', metric=metric))
    with raises(UsageError, '3 of 4 annotations have no mask', 'three points'):
        check_data(cfg, ['val'])
