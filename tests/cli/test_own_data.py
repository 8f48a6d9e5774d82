"""`tools/train.py --coco-folder`: a detector's config on a folder of one's own."""
import json
import shutil
from pathlib import Path

import pytest
from helpers import ROOT

from mmvit_backbones.cli.config import UsageError, dicts_in, load_config
from mmvit_backbones.cli.own_data import use_coco_folder


def config(name: str):
    return load_config(str(ROOT / 'configs' / f'{name}.py'))


@pytest.fixture
def folder(tmp_path):
    """Images of two classes, whose ids in the file are neither from 0 nor in a row."""
    (tmp_path / 'annotations').mkdir()
    shape = dict(bbox=[2, 3, 20, 30], area=600, iscrowd=0, segmentation=[[2, 3, 22, 3, 22, 33]])
    for split in ('train', 'val'):
        (tmp_path / split).mkdir()
        shutil.copy(next((ROOT / 'data/coco_mini' / split).glob('*.jpg')), tmp_path / split / 'a.jpg')
        content = dict(
            images=[dict(id=1, file_name='a.jpg', width=640, height=480)],
            annotations=[dict(shape, id=1, image_id=1, category_id=7), dict(shape, id=2, image_id=1, category_id=3)],
            categories=[dict(id=3, name='cat'), dict(id=7, name='dog')])
        (tmp_path / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    return tmp_path


def change(folder: Path, split: str, key: str, value) -> None:
    file = folder / f'annotations/instances_{split}.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))


@pytest.mark.parametrize('name, heads', [
    ('mask_rcnn_reswin_t', 2), ('cascade_mask_rcnn_reswin_t', 4), ('retinanet_rest_s', 1)])
def test_heads_and_data_take_the_folders_classes(folder, name, heads):
    from mmdet.registry import DATASETS
    cfg = config(name)
    use_coco_folder(cfg, str(folder))
    assert [node['num_classes'] for node in dicts_in(cfg.model) if 'num_classes' in node] == [2] * heads
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == str(folder / 'annotations/instances_val.json')
    for split in ('train', 'val', 'test'):
        dataset = DATASETS.build(dict(cfg[f'{split}_dataloader'].dataset, _scope_='mmdet'))
        labels = [instance['bbox_label'] for instance in dataset.get_data_info(0)['instances']]
        assert dataset.metainfo['classes'] == ('cat', 'dog') and labels == [1, 0]
        assert Path(dataset.get_data_info(0)['img_path']).is_file()


def test_mistakes_are_told(folder):
    with pytest.raises(UsageError, match="default_scope='mmseg'"):
        use_coco_folder(config('upernet_reswin_t'), str(folder))
    with pytest.raises(UsageError, match='annotations/instances_train.json is missing'):
        use_coco_folder(config('mask_rcnn_reswin_t'), str(folder / 'train'))
    change(folder, 'val', 'categories', [dict(id=3, name='cow')])
    with pytest.raises(UsageError, match=r"also \['cow'\]"):
        use_coco_folder(config('mask_rcnn_reswin_t'), str(folder))
    (folder / 'annotations/instances_val.json').write_text('[]')
    with pytest.raises(UsageError, match='instances_val.json is not in COCO format'):
        use_coco_folder(config('mask_rcnn_reswin_t'), str(folder))


def test_boxes_alone_are_for_detectors_without_masks(folder):
    change(folder, 'train', 'annotations', [dict(id=1, image_id=1, category_id=3, bbox=[2, 3, 20, 30], area=600)])
    use_coco_folder(config('retinanet_rest_s'), str(folder))
    with pytest.raises(UsageError, match='no segmentation.*configs/retinanet'):
        use_coco_folder(config('mask_rcnn_reswin_t'), str(folder))
