"""`test_on` tests a fine-tuned network on another folder, or with another image size."""
import json
import os
import shutil
from pathlib import Path

import pytest
from fine_tunings import COCO, FLOWERS, FOLDERS, TASKS, recipe
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmvit import running as training
from mmvit.recipes import test_on
from mmvit.running.run_folder import RunFolder
from mmvit.utils.config_parts import SPLITS
from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')


def config_for(cfg: Config, tmp_path: Path, **options) -> Config:
    """Returns the config of the test of a fine-tuning."""
    cfg = test_on(RunFolder.create(cfg), out=str(tmp_path / 'other'), **options)
    return training.testing_config(cfg, 'none.pth')


def data_of(*configs: Config) -> list:
    """Returns the data sets of the tests of configs."""
    init_default_scope(configs[0].default_scope)
    return [DATASETS.build(cfg.test_dataloader.dataset) for cfg in configs]


@TASKS
def test_another_folder_has_the_images_of_its_validation(task, tmp_path):
    shutil.copytree(FOLDERS[task], tmp_path / 'copy')
    cfg = recipe(tmp_path, task, size=64)
    test = config_for(cfg, tmp_path, **{task: str(tmp_path / 'copy')})
    before, after = data_of(cfg, test)
    assert before.metainfo['classes'] == after.metainfo['classes'] and len(before) == len(after)
    paths = [Path(dataset.get_data_info(0)['img_path']) for dataset in (before, after)]
    assert paths[0].name == paths[1].name and (tmp_path / 'copy') in paths[1].parents
    assert before[0]['inputs'].shape == after[0]['inputs'].shape
    if task == 'coco_folder':
        assert str(tmp_path / 'copy') in test.test_evaluator.ann_file


def test_categories_in_another_order_get_the_labels_of_the_training(tmp_path):
    folder = tmp_path / 'copy'
    shutil.copytree(COCO, folder)
    file = folder / 'annotations/instances_val.json'
    content = json.loads(file.read_text())
    content['categories'].reverse()
    file.write_text(json.dumps(content))
    cfg = recipe(tmp_path, 'coco_folder')
    test = config_for(cfg, tmp_path, coco_folder=str(folder))
    before, after = data_of(cfg, test)
    assert [instance['bbox_label'] for instance in before.get_data_info(0)['instances']] == \
        [instance['bbox_label'] for instance in after.get_data_info(0)['instances']]


@TASKS
def test_another_size_keeps_the_folder(task, tmp_path):
    cfg = recipe(tmp_path, task, size=64)
    test = config_for(cfg, tmp_path, size=96)
    before, after = data_of(cfg, test)
    assert len(before) == len(after) and max(after[0]['inputs'].shape) > max(before[0]['inputs'].shape)


@TASKS
def test_the_folder_of_the_training_changes_nothing_of_its_test(task, tmp_path):
    """Also of one that was edited."""
    cfg = recipe(tmp_path, task, size=64)
    steps = cfg.test_dataloader.dataset.pipeline
    steps.insert(1, dict(type='RandomFlip', prob=1.))
    cfg.test_dataloader.dataset.indices = 3
    found = test_on(RunFolder.create(cfg), out=str(tmp_path / 'other'), **{task: FOLDERS[task]})
    for each in cfg, found:
        for split in SPLITS:
            each[f'{split}_dataloader'].dataset.data_root = os.path.normpath(FOLDERS[task])
    assert found.to_dict() == cfg.to_dict()


def test_another_size_of_edited_steps_is_refused(tmp_path):
    cfg = recipe(tmp_path, size=64)
    cfg.test_dataloader.dataset.pipeline[2].crop_size = 48
    with raises(UsageError, '--size', 'test pipeline', '--cfg-options'):
        test_on(RunFolder(cfg), size=96, out=str(tmp_path / 'other'))


@TASKS
def test_another_folder_needs_no_training_images(task, tmp_path):
    shutil.copytree(FOLDERS[task], tmp_path / 'copy')
    parts = dict(class_folder=['train'], coco_folder=['train', 'annotations/instances_train.json'],
                 seg_folder=['images/train', 'masks/train'])[task]
    for part in parts:
        place = tmp_path / 'copy' / part
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    cfg = recipe(tmp_path, task)
    test = config_for(cfg, tmp_path, **{task: str(tmp_path / 'copy')})
    assert len({*map(len, data_of(cfg, test))}) == 1


def test_a_random_split_is_the_same_in_the_test(tmp_path):
    shutil.copytree(Path(FLOWERS) / 'train', tmp_path / 'flowers')
    cfg = recipe(tmp_path, class_folder=str(tmp_path / 'flowers'), val_fraction=0.25, split_seed=5)
    test = config_for(cfg, tmp_path, size=96)
    images = [{dataset.get_data_info(i)['img_path'] for i in range(10)} for dataset in data_of(cfg, test)]
    assert images[0] == images[1]


def test_another_task_and_a_config_of_another_origin_are_refused(tmp_path):
    cfg = recipe(tmp_path)
    with raises(UsageError, 'class_folder', 'coco_folder'):
        test_on(RunFolder(cfg), coco_folder=COCO, out=str(tmp_path))
    published = Config.fromfile(ROOT / 'configs/imagenet_reswin_t.py')
    with raises(UsageError, 'imagenet_reswin_t', 'test_dataloader', '--cfg-options'):
        test_on(RunFolder(published), class_folder=FLOWERS, out=str(tmp_path))


def test_other_classes_are_refused(tmp_path):
    shutil.copytree(FLOWERS, tmp_path / 'copy')
    (tmp_path / 'copy/val/roses').rename(tmp_path / 'copy/val/orchids')
    with raises(UsageError, 'orchids'):
        test_on(RunFolder(recipe(tmp_path)), class_folder=str(tmp_path / 'copy'), out=str(tmp_path / 'other'))
