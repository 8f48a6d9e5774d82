"""Faulty data are either read as the framework reads them, or reported in one line before the first training step."""
import json
import shutil

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mmvit.configs.files import read_config
from mmvit.folders.coco import Coco
from mmvit.folders.coco_rules import coco_problems
from mmvit.folders.data_set_files import check_data
from mmvit.utils.images import image_info
from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')

COCO = ROOT / 'data/coco_mini'
BOX = [10., 10., 50., 40.]


@pytest.fixture
def coco(tmp_path):
    """Copies two images and returns a COCO data set with one annotation per image."""
    content = json.loads((COCO / 'annotations/instances_val.json').read_text())
    content['images'] = content['images'][:2]
    ids = [image['id'] for image in content['images']]
    category = content['categories'][0]['id']
    content['categories'] = content['categories'][:1]
    content['annotations'] = [dict(id=number, image_id=image, category_id=category, bbox=BOX, area=2000., iscrowd=0,
                                   segmentation=[[10., 10., 60., 10., 60., 50.]]) for number, image in enumerate(ids)]
    (tmp_path / 'images').mkdir()
    for image in content['images']:
        shutil.copy(COCO / 'val' / image['file_name'], tmp_path / 'images')
    return content


def problems(content, folder):
    (folder / 'annotations.json').write_text(json.dumps(content))
    return coco_problems(Coco(str(folder / 'annotations.json'), content, str(folder / 'images'), is_evaluated=False))


def read_by_mmdet(folder):
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'tests/configs/mask_rcnn_reswin_t.py').train_dataloader.dataset
    dataset = DATASETS.build({**cfg, 'data_root': f'{folder}/', 'ann_file': 'annotations.json',
                              'data_prefix': dict(img='images/'), 'filter_cfg': None})
    return [dataset[index] for index in range(len(dataset))]


@pytest.mark.slow
@pytest.mark.parametrize('changes, reason', [
    (dict(bbox=[10., 10., 0., 40.]), 'no area'), (dict(area=0.), 'field area'),
    (dict(bbox=[9000., 10., 50., 40.]), 'box outside'), (dict(category_id=9999), 'category_id not in'),
    (dict(bbox=[60., 50., -50., -40.]), 'negative width'), (dict(bbox=[0.1, 0.1, 0.5, 0.4]), 'coordinates from 0 to 1'),
])
def test_annotation_that_mmdet_leaves_out(changes, reason, coco, tmp_path):
    coco['annotations'][1].update(changes)
    coco['annotations'].append(dict(coco['annotations'][0], id=2))
    problem, = problems(coco, tmp_path)
    assert not problem.is_error and 'mmdet leaves out' in problem.text and reason in problem.text
    assert '1 of 3 annotations (ids 1)' in problem.text
    assert [len(sample['data_samples'].gt_instances) for sample in read_by_mmdet(tmp_path)] == [2, 0]


def test_folder_that_cannot_be_listed(tmp_path):
    cfg = read_config(str(ROOT / 'tests/configs/imagenet_reswin_t.py'))
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    (tmp_path / 'train').symlink_to(tmp_path / 'train')
    with pytest.raises(UsageError, match='train'):
        check_data(cfg, ['train'])


def images_of_all_kinds(folder):
    gray = Image.fromarray(np.arange(6000, dtype=np.uint8).reshape(60, 100))
    kinds = dict(gray=gray, rgb=gray.convert('RGB'), cmyk=gray.convert('CMYK'), tiny=gray.resize((1, 1)))
    for name, image in kinds.items():
        image.save(folder / f'{name}.jpg')
    Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100)).save(folder / 'deep.png')
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    gray.save(folder / 'turned.jpg', exif=exif)


def test_images_of_all_kinds_are_read(tmp_path):
    """Gray, CMYK, 16-bit and one-pixel images become 8-bit RGB, rotated as in EXIF. Class folders may be empty."""
    for name in ('daisy', 'roses', 'empty'):
        (tmp_path / 'train' / name).mkdir(parents=True)
    images_of_all_kinds(tmp_path / 'train/daisy')
    images_of_all_kinds(tmp_path / 'train/roses')
    cfg = Config.fromfile(ROOT / 'tests/configs/imagenet_reswin_t.py').train_dataloader.dataset
    init_default_scope('mmpretrain')
    dataset = DATASETS.build({**cfg, 'data_root': str(tmp_path)})
    assert len(dataset) == 12
    for index in range(len(dataset)):
        inputs = dataset[index]['inputs']
        assert inputs.shape == (3, 56, 56) and inputs.dtype == torch.uint8
        assert image_info(dataset.get_data_info(index)['img_path'], decodes=True).fault == ''
    turned, = (index for index in range(6) if dataset.get_data_info(index)['img_path'].endswith('turned.jpg'))
    info = dataset.get_data_info(turned)
    assert image_info(info['img_path']).size == (60, 100)
