"""Files and annotations of a config's data sets are checked before a run starts."""
import json

import pytest
from helpers import raises
from mmengine.config import Config
from PIL import Image

from mmvit.folders import data_set_files
from mmvit.folders.data_set_files import check_data, find_problems
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


def test_which_images_are_compared_with_the_annotations(tmp_path, monkeypatch):
    """Sizes are compared for a sample of the images, and only by the first process."""
    dataset = coco(tmp_path)
    for number in 1, 3:
        change(tmp_path, 'images', number, width=60)
    for num_images in 1, 2, 3:  # with 2 and 3, every second image
        monkeypatch.setattr(data_set_files, 'IMAGES_TO_CHECK', num_images)
        assert not find_problems(dataset)
    for num_images in 4, 100:
        monkeypatch.setattr(data_set_files, 'IMAGES_TO_CHECK', num_images)
        found, = find_problems(dataset)
        assert found.is_error and '2 of 4 images' in found.text
    monkeypatch.setenv('RANK', '1')
    assert not find_problems(dataset)


def test_other_data_sets_are_not_read(tmp_path):
    dataset = coco(tmp_path)
    change(tmp_path, 'annotations', 0, bbox=None)
    assert find_problems(dataset)
    assert not find_problems(dict(dataset, type='LVISDataset')) and not find_problems(dict(dataset, ann_file='a.txt'))
    assert not find_problems(dict(type='CocoDataset', data_root='none'))
    for kind in 'CocoPanopticDataset', 'CocoCaptionDataset':
        assert not find_problems(dict(dataset, type=kind))
    assert find_problems(dict(dataset, type='mmdet.CocoDataset'))


def test_order_of_the_classes_of_a_config(tmp_path):
    """Names may be in a file, as MMEngine allows."""
    dataset = coco(tmp_path)
    for name, number in ('cat', 0), ('dog', 1):
        (tmp_path / f'{name}.txt').write_text(f'{name}\n')
        names = dict(classes=str(tmp_path / f'{name}.txt'))
        assert len(find_problems(dict(dataset, metainfo=names), framework='mmdet')) == number
    assert not find_problems(dict(dataset, metainfo=None)) and not find_problems(dict(dataset, metainfo={}))
    assert not find_problems(dict(dataset, metainfo=dict(classes=('cat', ))))
    found, = find_problems(dict(dataset, metainfo=dict(classes=('dog', ))))
    assert found.is_error and 'order of the classes' in found.text


def test_errors_are_counted_and_warnings_are_printed(tmp_path, capsys):
    cfg = config(coco(tmp_path))
    change(tmp_path, 'annotations', 1, category_id=9)
    check_data(cfg, ['train'])
    assert 'warning: ' in capsys.readouterr().err
    change(tmp_path, 'annotations', 0, bbox=None)
    change(tmp_path, 'annotations', 2, area=None)
    with raises(UsageError, 'bbox of annotations 1', 'error 1 of 2'):
        check_data(cfg, ['train'])
    check_data(cfg, ['train'], content=False)


def test_only_data_for_evaluation_need_iscrowd(tmp_path):
    cfg = config(coco(tmp_path))
    change(tmp_path, 'annotations', 0, iscrowd=None)
    change(tmp_path, 'annotations', 0, id=7)
    content = json.loads((tmp_path / 'a.json').read_text())
    del content['annotations'][0]['iscrowd']
    (tmp_path / 'a.json').write_text(json.dumps(content))
    check_data(cfg, ['train'])
    with raises(UsageError, 'iscrowd of annotations 7'):
        check_data(cfg, ['val'])


@pytest.mark.parametrize('key', ['ann_file', 'label_file'])
def test_files_of_metrics_exist(key, tmp_path):
    dataset = coco(tmp_path)
    for file in str(tmp_path / 'a.json'), None:
        check_data(config(dataset, val_evaluator=[dict(type='x'), {'type': 'y', key: file}]), ['val'])
    cfg = config(dataset, val_evaluator={'type': 'x', key: str(tmp_path / 'none.json')})
    check_data(cfg, ['train'])
    with raises(UsageError, f'val_evaluator.{key}', tmp_path / 'none.json'):
        check_data(cfg, ['val'])


@pytest.mark.parametrize('framework, dataset, missing, example', [
    ('mmdet', dict(type='CocoDataset', data_root='in', ann_file='a/b.json', data_prefix=dict(img='c/')), 'in/a/b.json',
     '--coco-folder'),
    ('mmseg', dict(type='x', data_root='in', data_prefix=dict(img_path='a/b', seg_map_path='c')), 'in/a/b',
     '--seg-folder'),
    ('mmpretrain', dict(type='ImageNet', data_root='in', split='train'), 'in/train', '--class-folder'),
    ('mmpretrain', dict(type='ImageNet', data_root='in', data_prefix='a'), 'in/a', '--class-folder'),
    ('mmpretrain', dict(type='Flowers102', data_root='in', split='test'), 'in', '--class-folder'),
    ('mmpretrain', dict(type='x', data_root='in', ann_file='a.txt', data_prefix='b'), 'in/a.txt', '--class-folder')])
def test_missing_files_are_named(framework, dataset, missing, example, tmp_path, monkeypatch):
    """Data sets in remote storage are not checked."""
    monkeypatch.chdir(tmp_path)
    with raises(UsageError, tmp_path / missing, 'train_dataloader', example):
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


def test_the_file_that_an_evaluation_reads_is_checked(tmp_path):
    """It may be another file than that of the data loader."""
    dataset = coco(tmp_path)
    (tmp_path / 'b.json').write_text((tmp_path / 'a.json').read_text())
    change(tmp_path, 'annotations', 1, id=0)
    metric = dict(type='CocoMetric', ann_file=str(tmp_path / 'a.json'))
    cfg = config(dict(dataset, ann_file='b.json'), val_evaluator=metric)
    check_data(cfg, ['train'])
    with raises(UsageError, tmp_path / 'a.json', 'id of annotations 0'):
        check_data(cfg, ['val'])


@pytest.mark.parametrize('load, metric', [(True, 'bbox'), (False, ['bbox', 'segm'])])
def test_masks_are_checked_where_they_are_used(load, metric, tmp_path):
    dataset = coco(tmp_path)
    for number in range(4):
        change(tmp_path, 'annotations', number, segmentation=[[1, 2]] if number else [[3, 3, 12, 3, 12, 12, 3, 12]])
    check_data(config(dataset), ['train', 'val'])
    cfg = config(dict(dataset, pipeline=[dict(type='LoadAnnotations', with_mask=load)]),
                 val_evaluator=dict(type='CocoMetric', metric=metric))
    with raises(UsageError, 'masks of annotations 2, 3, 4 cannot be used', 'three points'):
        check_data(cfg, ['val'])


def test_marks_that_openmmlab_does_not_read(tmp_path):
    dataset = coco(tmp_path)
    (tmp_path / 'a.json').write_bytes(b'\xef\xbb\xbf' + (tmp_path / 'a.json').read_bytes())
    with raises(UsageError, tmp_path / 'a.json', 'byte order mark'):
        check_data(config(dataset), ['train'])
    for content in b'\xef\xbb\xbfa.png 0\n', 'a.png 0\n'.encode('utf-16'), 'ä.png 0\n'.encode('latin-1'):
        (tmp_path / 'a.txt').write_bytes(content)
        with raises(UsageError, tmp_path / 'a.txt', 'UTF-8'):
            check_data(config(dict(dataset, type='CustomDataset', ann_file='a.txt')), ['train'])


def test_images_with_run_lengths_have_the_stated_size(tmp_path):
    """Elsewhere, few other sizes are a warning."""
    dataset = coco(tmp_path)
    change(tmp_path, 'images', 0, height=21)
    assert not any(problem.is_error for problem in find_problems(dataset))
    for number, height in enumerate((21, 20, 20, 20)):
        change(tmp_path, 'annotations', number, segmentation=dict(size=[height, 30], counts=[height * 30]))
    found, = find_problems(dataset, needs_masks=True)
    assert found.is_error and '0.png has 30 x 20 pixels' in found.text
