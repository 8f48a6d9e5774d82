"""A training goes on from the whole model of another one with the same network and task."""
from importlib import import_module
from pathlib import Path

import pytest
import torch
from fine_tunings import TASKS, recipe
from helpers import raises
from mmengine.config import Config

from mmvit.recipes.networks import find_network
from mmvit.utils.frameworks import build_model, use_framework
from mmvit_backbones.errors import CheckpointError

pytestmark = pytest.mark.usefixtures('frameworks')


def trained(folder: Path, cfg: Config, classes: tuple[str, ...]) -> str:
    """Returns a checkpoint as MMEngine saves it, with random weights."""
    use_framework(cfg.default_scope)
    torch.save(dict(state_dict=build_model(Config(cfg.to_dict())).state_dict(),
                    meta=dict(dataset_meta=dict(classes=list(classes)))), file := folder / 'run.pth')
    return str(file)


@TASKS
def test_whole_model_starts_at_the_rate_of_pretrained_layers(task, tmp_path):
    cfg = recipe(tmp_path, task)
    run = trained(tmp_path, cfg, cfg.metainfo.classes)
    whole = recipe(tmp_path, task, pretrained=run)
    assert whole.load_from == run and 'init_cfg' not in whole.model.backbone
    content = torch.load(run)
    backbone = {name: x for name, x in content['state_dict'].items() if name.startswith('backbone.')}
    torch.save({**content, 'state_dict': backbone}, run)
    other = recipe(tmp_path, task, pretrained=run)
    with raises(CheckpointError, 'another network', 'ResT'):
        recipe(tmp_path, task, pretrained=trained(tmp_path, recipe(tmp_path, task, 'resnet50'), ()))
    assert not other.get('load_from') and other.model.backbone.init_cfg.checkpoint == run  # the backbone alone
    settings = whole.optim_wrapper.paramwise_cfg
    backbone = other.optim_wrapper.optimizer.lr * other.optim_wrapper.paramwise_cfg.pretrained_mult
    assert whole.optim_wrapper.optimizer.lr == pytest.approx(backbone) and settings.pretrained_mult == 1


def test_a_whole_model_with_another_head_gives_its_backbone_and_says_so(tmp_path, capsys):
    """As a run whose head was UPerNet's."""
    cfg = recipe(tmp_path, 'seg_folder')
    other = Config(cfg.to_dict())
    other.model.decode_head = dict(
        type='UPerHead', channels=16, pool_scales=(1, ), num_classes=cfg.model.decode_head.num_classes,
        in_channels=cfg.model.decode_head.in_channels, in_index=[0, 1, 2, 3])
    run = trained(tmp_path, other, cfg.metainfo.classes)
    found = recipe(tmp_path, 'seg_folder', pretrained=run)
    assert found.model.backbone.init_cfg.checkpoint == run and not found.get('load_from')
    assert all(word in capsys.readouterr().err for word in [f'{run}: its decode_head'])


@TASKS
def test_last_layers_of_other_classes_are_new(task, tmp_path):
    cfg = recipe(tmp_path, task)
    run = trained(tmp_path, cfg, cfg.metainfo.classes[::-1])
    fine = recipe(tmp_path, task, pretrained=run)
    loaded, all_of_them = torch.load(fine.load_from)['state_dict'], torch.load(run)['state_dict']
    missing = {name.rpartition('.')[0] for name in all_of_them.keys() - loaded.keys()}
    heads = 'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg', 'roi_head.mask_head.conv_logits'
    assert missing == dict(class_folder={'head.fc'}, coco_folder={*heads},
                           seg_folder={f'decode_head.layers.{level}.2' for level in range(4)})[task]
    settings = fine.optim_wrapper.paramwise_cfg
    assert settings.pretrained_mult < 1 and {*settings.new} == ({'head'} if task == 'class_folder' else missing)


@pytest.mark.parametrize('framework, config', [  # one for each normalization with weights in the frameworks' configs
    ('mmdet', 'atss/atss_r50_fpn_1x_coco.py'), ('mmdet', 'autoassign/autoassign_r50-caffe_fpn_1x_coco.py'),
    ('mmdet', 'mask_rcnn/mask-rcnn_r50-caffe_fpn_1x_coco.py'), ('mmdet', 'yolo/yolov3_d53_8xb8-320-273e_coco.py'),
    ('mmdet', 'cascade_rcnn/cascade-mask-rcnn_x101-32x8d_fpn_ms-3x_coco.py'),
    ('mmdet', 'openimages/ssd300_32xb8-36e_openimages.py'), ('mmdet', 'yolact/yolact_r50_1xb8-55e_coco.py'),
    ('mmdet', 'resnest/cascade-mask-rcnn_s50_fpn_syncbn-backbone+head_ms-1x_coco.py'),
    ('mmseg', 'ann/ann_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    ('mmseg', 'segmenter/segmenter_vit-b_mask_8xb1-160k_ade20k-512x512.py'),
    ('mmpretrain', 'beit/benchmarks/beit-base-p16_8xb128-coslr-100e_in1k.py'),
    ('mmpretrain', 'csra/resnet101-csra_1xb16_voc07-448px.py')])
def test_images_of_a_config_come_with_its_weights(framework, config):
    path = Path(str(import_module(framework).__file__)).parent / '.mim/configs' / config
    cfg, found = Config.fromfile(path), find_network(str(path))
    images = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    to_rgb = images.get('bgr_to_rgb', images.get('to_rgb'))
    assert [found.mean, found.std, found.to_rgb] == [images['mean'], images['std'], to_rgb]
    assert found.is_pretrained and not find_network(str(path), False).is_pretrained


def test_initial_values_are_no_weights():
    kaiming = dict(type='Kaiming', layer='Conv2d')
    found = [find_network(dict(type='mmdet.ResNet', depth=18, init_cfg=kaiming), given) for given in (True, False)]
    assert all(not each.is_pretrained and each.backbone['init_cfg'] == kaiming for each in found)
