"""Images and masks in a folder become the data sets of a segmenter."""
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_folders import checked_folder
from helpers import raises
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from mmvit.running.data_set_files import check_data
from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')

CLASSES = 'background', 'traffic light'
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


@pytest.fixture
def folder(tmp_path):
    """Three training images and two validation images of 24 x 16 pixels, with masks of two labels."""
    folder = tmp_path / 'streets'
    for part, number in (('train', 3), ('val', 2)):
        for kind in 'images', 'masks':
            (folder / kind / part).mkdir(parents=True)
        for i in range(number):
            Image.new('RGB', (24, 16), (99 * i, 0, 99 * number)).save(folder / f'images/{part}/{part}{i}.jpg')
            labels = np.zeros((16, 24), np.uint8)
            labels[4:8], labels[:2] = 1, 255
            Image.fromarray(labels).save(folder / f'masks/{part}/{part}{i}.png')
    (folder / 'classes.txt').write_text('background\ntraffic light\n')
    return folder


def labels_of(config: dict) -> list[set[int]]:
    from mmseg import datasets  # noqa: F401
    samples = DATASETS.build(dict(config, pipeline=LOAD, _scope_='mmseg'))
    return [set(np.unique(samples[i]['gt_seg_map']).tolist()) for i in range(len(samples))]


def test_masks_are_read(folder, tmp_path):
    data = checked_folder('seg_folder', folder, out=tmp_path / 'out')
    assert data.classes == CLASSES and (data.count('train'), data.count('val')) == (3, 2)
    assert labels_of(data.train) == [{0, 1, 255}] * 3 and labels_of(data.val) == [{0, 1, 255}] * 2
    assert data.train['metainfo']['classes'] == CLASSES and data.train['data_root'] == str(folder)


def test_images_are_split(folder):
    shutil.rmtree(folder / 'images/val')
    found = [checked_folder('seg_folder', folder, val_fraction=0.3, split_seed=seed) for seed in (0, 0, 5)]
    assert [(data.count('train'), data.count('val')) for data in found] == [(2, 1)] * 3
    lists = [Path(data.val['ann_file']).read_text(encoding='utf-8') for data in found]
    assert lists[0] == lists[1] != lists[2]
    for name in '12':
        (folder / f'images/train/train{name}.jpg').unlink()
    with raises(UsageError, '--val-fraction', 'two different images', 'train0.jpg alone'):
        checked_folder('seg_folder', folder, val_fraction=0.5)


def test_other_data_are_tested_with_the_classes_of_a_training(folder):
    shutil.rmtree(folder / 'images/train')
    data = checked_folder('seg_folder', folder, classes=CLASSES)
    assert data.count('val') == 2 and not data.train
    with raises(UsageError, 'same order', 'background'):
        checked_folder('seg_folder', folder, classes=CLASSES[::-1])


@pytest.mark.parametrize('number, is_right', [(1, False), (2, True), (255, True), (256, False), (300, False)])
def test_number_of_classes(number, is_right, folder):
    """mmseg reads masks as 8-bit integers, and ignores 255; two configs differ in nothing but their classes."""
    names = [f'class {i}x' for i in range(number)]
    (folder / 'classes.txt').write_text('\n'.join(names))
    for mask in folder.glob('masks/*/*.png'):
        Image.fromarray((np.arange(384).reshape(16, 24) % 2).astype(np.uint8)).save(mask)
    dataset = dict(type='BaseSegDataset', data_root=str(folder), metainfo=dict(classes=names),
                   data_prefix=dict(img_path='images/val', seg_map_path='masks/val'), pipeline=LOAD)
    cfg = Config(dict(default_scope='mmseg', val_dataloader=dict(dataset=dataset)))
    if is_right:
        assert len(checked_folder('seg_folder', folder).classes) == number
        check_data(cfg, ['val'])
    else:
        with raises(UsageError, *(['at least two'] if number == 1 else ['at most 255 classes', number])):
            checked_folder('seg_folder', folder)
        with raises(UsageError, *(['labels [1]'] if number == 1 else ['at most 255 classes', number])):
            check_data(cfg, ['val'])


def test_masks_of_another_size_end_an_evaluation(folder, capsys):
    """Training resizes and crops them; a config is checked like a folder."""
    for part in 'train', 'val':
        mask = folder / f'masks/{part}/{part}0.png'
        before = Image.open(mask)
        before.resize((9, 9), Image.Resampling.NEAREST).save(mask)
        dataset = dict(type='BaseSegDataset', data_root=str(folder), metainfo=dict(classes=CLASSES),
                       data_prefix=dict(img_path=f'images/{part}', seg_map_path=f'masks/{part}'), pipeline=LOAD)
        cfg = Config({'default_scope': 'mmseg', f'{part}_dataloader': dict(dataset=dataset)})
        if part == 'train':
            checked_folder('seg_folder', folder)
            check_data(cfg, [part])
            assert capsys.readouterr().err.count(f'warning: mask {mask} has 9 x 9 pixels') == 2
        else:
            for check in (lambda: checked_folder('seg_folder', folder), lambda: check_data(cfg, [part])):
                with raises(UsageError, mask, '9 x 9 pixels', '24 x 16'):
                    check()


def test_few_masks_are_told(folder, capsys):
    """Classes that few training masks have or few pixels, and validation images worth half of the figures each."""
    checked_folder('seg_folder', folder)
    err = capsys.readouterr().err
    assert f'even share: {CLASSES[0]}, {CLASSES[1]};' in err and '50 points' in err
