"""Exported files predict what the framework does, for one model per task and kind of network."""
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.cli.config import UsageError
from mmvit_backbones.cli.predict import _build_model
from mmvit_backbones.deploy import load
from mmvit_backbones.deploy.export import box_ious, check_agreement, compare, export_model
from mmvit_backbones.deploy.load import Checkpoint
from mmvit_backbones.deploy.parts import check_exportable, split

IMAGES = [np.array(Image.open(path).convert('RGB')) for path in sorted(ROOT.glob('data/coco_mini/val/*.jpg'))[:2]]

def shrunk(name: str, network: str) -> Config:
    """A demonstration's config with a tiny network and small images."""
    cfg = Config.fromfile(ROOT / f'configs/demo/{name}.py')
    cfg.model.backbone = dict(type=network, **TINY_CONFIGS[network])
    return cfg


@pytest.mark.parametrize('change, message', [
    (dict(model=dict(type='DINO')), 'DINO cannot be exported; of mmdet, allowed are RetinaNet'),
    (dict(model=dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms'))))), 'soft_nms has no graph'),
    (dict(test_dataloader=dict(dataset=dict(pipeline=[dict(type='RandomFlip')]))), 'step RandomFlip'),
])
def test_what_has_no_graph_is_refused(change, message):
    cfg = Config.fromfile(ROOT / 'configs/demo/mask_rcnn_reswin_t.py')
    cfg.merge_from_dict(change)
    with pytest.raises(UsageError, match=message):
        check_exportable(cfg)


def test_comparison_sees_other_boxes():
    prediction = dict(labels=np.array([0, 1]), scores=np.array([.9, .8], 'f'),
                      boxes=np.array([[0, 0, 9, 9], [5, 5, 20, 30]], 'f'))
    assert check_agreement(compare(prediction, prediction))
    for change in (dict(scores=prediction['scores'] - 0.01), dict(boxes=prediction['boxes'] + 2),
                   dict(labels=prediction['labels'][::-1])):
        assert not check_agreement(compare(prediction, {**prediction, **change}))
    assert box_ious(np.array([[0, 0, 2, 2.]]), np.array([[1, 0, 3, 2.]]))[0, 0] == pytest.approx(1 / 3)


CASES = {
    # ReSwin is a pyramid, RefinerViT plain, and SwinVSA's windows are sampled by the operator.
    'classification': ('imagenet_reswin_t', 'ReSwin', dict(head=dict(in_channels=128))),
    'segmentation': ('upernet_refiner_vit_s', 'RefinerViT', dict(
        neck=dict(embed_dim=16), decode_head=dict(in_channels=[16] * 4, channels=16),
        auxiliary_head=dict(in_channels=16))),
    'detection': ('mask_rcnn_swin_vsa_t', 'SwinVSA', dict(
        neck=dict(in_channels=[16, 32, 64, 128], out_channels=16),
        rpn_head=dict(in_channels=16, feat_channels=16),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=16), mask_roi_extractor=dict(out_channels=16),
            bbox_head=dict(in_channels=16, fc_out_channels=16),
            mask_head=dict(in_channels=16, conv_out_channels=16)))),
}


FORMATS = dict(classification='model.onnx', segmentation='model.pt2', detection='model.pt2')


def model_of(task: str, folder: Path) -> tuple[Config, Checkpoint]:
    """A small model with weights."""
    name, network, heads = CASES[task]
    cfg = shrunk(name, network)
    cfg.merge_from_dict(dict(model=heads))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = _build_model(cfg)
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    path = folder / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return cfg, Checkpoint(cfg, str(path))


@pytest.mark.slow
@pytest.mark.parametrize('task', CASES)
def test_files_predict_what_the_framework_does(task, tmp_path):
    cfg, reference = model_of(task, tmp_path)
    path = tmp_path / FORMATS[task]
    file_format = path.suffix[1:]
    parts = split(reference.module, cfg)
    export_model(parts, path, file_format, reference.task, reference.classes, IMAGES[0])
    model = load(path)
    assert model.classes == reference.classes
    for image in IMAGES:
        expected = reference.predict(image)
        assert reference.task != 'detection' or len(expected['labels'])
        assert check_agreement(compare(expected, model.predict(image)))
    if file_format == 'onnx':
        assert {node.domain for node in onnx.load(path).graph.node} == {''}, 'operators outside of the standard'
    with pytest.raises(ValueError, match='image must be a uint8 array'):
        model.predict(IMAGES[0].astype('float32'))
