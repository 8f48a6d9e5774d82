"""Faulty data are either read as the framework reads them, or reported in one line before the first training step."""
import json
import shutil

import numpy as np
import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from mmvit.configs.files import read_config
from mmvit.folders.data_set_files import check_data, find_problems
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
    content['annotations'] = [dict(id=number, image_id=image, category_id=category, bbox=BOX, area=2000., iscrowd=0,
                                   segmentation=[[10., 10., 60., 10., 60., 50.]]) for number, image in enumerate(ids)]
    (tmp_path / 'images').mkdir()
    for image in content['images']:
        shutil.copy(COCO / 'val' / image['file_name'], tmp_path / 'images')
    return content


def errors(content, folder):
    file = folder / 'annotations.json'
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return problems(folder)[0]


def problems(folder):
    found = find_problems(dict(type='CocoDataset', data_root=str(folder), ann_file='annotations.json',
                               data_prefix=dict(img='images/')), is_evaluated=False, needs_masks=True)
    return [m.text for m in found if m.is_error], [m.text for m in found if not m.is_error]


def read_by_mmdet(folder):
    init_default_scope('mmdet')
    cfg = Config.fromfile(ROOT / 'tests/configs/mask_rcnn_reswin_t.py').train_dataloader.dataset
    dataset = DATASETS.build({**cfg, 'data_root': f'{folder}/', 'ann_file': 'annotations.json',
                              'data_prefix': dict(img='images/'), 'filter_cfg': None})
    return [dataset[index] for index in range(len(dataset))]


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"images": 1}', 'text', '{"images": [{}]}'])
def test_files_that_are_not_in_coco_format(content, tmp_path):
    error, = errors(content, tmp_path)
    assert 'annotations.json is not in COCO format' in error


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_missing_and_repeated_entries(key, coco, tmp_path):
    assert any(f'ids of {key} must be unique' in error
               for error in errors({**coco, key: [*coco[key], coco[key][0]]}, tmp_path))
    assert any(f'{key} is empty' in error for error in errors({**coco, key: []}, tmp_path))


def test_missing_image(coco, tmp_path):
    name = coco['images'][1]['file_name']
    (tmp_path / 'images' / name).unlink()
    error, = errors(coco, tmp_path)
    assert f'images {name} are not in' in error
    (tmp_path / 'images' / name).symlink_to(COCO / 'val' / name)
    assert not errors(coco, tmp_path)


@pytest.mark.parametrize('key, value', [
    ('bbox', [float('nan'), 1, 2, 3]), ('bbox', [1, 2, 3]), ('bbox', None), ('image_id', -1)])
def test_invalid_annotation(key, value, coco, tmp_path):
    coco['annotations'][1][key] = value
    error, = errors(coco, tmp_path)
    assert f'{key} of annotations 1 must be' in error


@pytest.mark.slow
@pytest.mark.parametrize('changes, reason', [
    (dict(bbox=[10., 10., 0., 40.]), 'no area'), (dict(area=0.), 'field area'),
    (dict(bbox=[9000., 10., 50., 40.]), 'box outside'), (dict(category_id=9999), 'category_id not in'),
    (dict(bbox=[60., 50., -50., -40.]), 'negative width'), (dict(bbox=[0.1, 0.1, 0.5, 0.4]), 'coordinates from 0 to 1'),
])
def test_annotation_that_mmdet_leaves_out(changes, reason, coco, tmp_path):
    coco['annotations'][1].update(changes)
    coco['annotations'].append(dict(coco['annotations'][0], id=2))
    assert not errors(coco, tmp_path)
    assert any(all(words in line for words in ('mmdet leaves out', '1 of 3 annotations (ids 1)', reason))
               for line in problems(tmp_path)[1])
    assert [len(sample['data_samples'].gt_instances) for sample in read_by_mmdet(tmp_path)] == [2, 0]


@pytest.mark.parametrize('changes, message', [
    (dict(bbox=[60., 50., -50., -40.]), 'leaves out 2 of 2 annotations (ids 0, 1): negative width'),
    (dict(bbox=[0.1, 0.1, 0.5, 0.4]), 'multiply x by the width')])
def test_data_without_a_usable_annotation_are_an_error(changes, message, coco, tmp_path):
    for annotation in coco['annotations']:
        annotation.update(changes)
    error, = errors(coco, tmp_path)
    assert message in error


def test_wrong_image_sizes(coco, tmp_path, capsys):
    coco['images'][1].update(width=300, height=400)
    error, = errors(coco, tmp_path)
    assert f'{coco["images"][1]["file_name"]} has 640 x 425 pixels, but the annotations say 300 x 400' in error
    del coco['images'][1]['height']
    assert any('width and height of images' in error for error in errors(coco, tmp_path))


def test_mistakes_are_errors_before_the_training(coco, tmp_path):
    coco['annotations'][0]['bbox'] = [1, 2, float('nan'), 4]
    errors(coco, tmp_path)
    cfg = read_config(str(ROOT / 'tests/configs/mask_rcnn_reswin_t.py'))
    cfg.train_dataloader.dataset.update(data_root=str(tmp_path), ann_file='annotations.json',
                                        data_prefix=dict(img='images/'))
    with raises(UsageError, 'bbox', 'annotations 0'):
        check_data(cfg, ['train'])


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


def test_warnings_are_not_errors_but_missing_metric_files_are(coco, tmp_path, capsys):
    coco['annotations'] *= 5
    coco['annotations'] = [dict(annotation, id=number) for number, annotation in enumerate(coco['annotations'], 1)]
    coco['annotations'][0]['bbox'] = [0., 0., 0., 0.]  # mmdet leaves out empty boxes
    (tmp_path / 'annotations.json').write_text(json.dumps(coco))
    cfg = read_config('mask_rcnn_reswin_t')
    cfg.train_dataloader.dataset.update(data_root=str(tmp_path), ann_file='annotations.json',
                                        data_prefix=dict(img='images/'), metainfo=dict(classes=[
                                            category['name'] for category in coco['categories']]))
    check_data(cfg, ['train'])
    assert 'mmdet leaves out' in capsys.readouterr().err
    cfg.val_dataloader.dataset = cfg.train_dataloader.dataset
    cfg.val_evaluator.ann_file = str(tmp_path / 'missing.json')
    with raises(UsageError, 'val_evaluator.ann_file', 'missing.json', 'does not exist'):
        check_data(cfg, ['val'])
