"""Detectors in detectron2's layout give the same outputs after conversion to mmdet's layout."""
import logging

import pytest
import torch
from golden_files import GOLDENS
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, TASK_UTILS, init_default_scope

from mmvit_backbones import convert_state_dict
from mmvit_backbones.zoo.converters.layout import convert_parts


def pyramid(first: int, channels: list[int]) -> dict[str, tuple[int, ...]]:
    lateral = {f'backbone.fpn_lateral{i}': (256, width, 1, 1) for i, width in enumerate(channels, first)}
    return lateral | {f'backbone.fpn_output{i}': (256, 256, 3, 3) for i, _ in enumerate(channels, first)}


MASK_RCNN = {
    'proposal_generator.rpn_head.conv': (256, 256, 3, 3),
    'proposal_generator.rpn_head.objectness_logits': (3, 256, 1, 1),
    'proposal_generator.rpn_head.anchor_deltas': (12, 256, 1, 1),
    'roi_heads.box_head.fc1': (1024, 256 * 7 * 7), 'roi_heads.box_head.fc2': (1024, 1024),
    'roi_heads.box_predictor.cls_score': (81, 1024), 'roi_heads.box_predictor.bbox_pred': (320, 1024),
    **{f'roi_heads.mask_head.mask_fcn{i}': (256, 256, 3, 3) for i in range(1, 5)},
    'roi_heads.mask_head.deconv': (256, 256, 2, 2), 'roi_heads.mask_head.predictor': (80, 256, 1, 1),
}
RETINANET = {
    'backbone.top_block.p6': (256, 512, 3, 3), 'backbone.top_block.p7': (256, 256, 3, 3),
    **{f'head.{kind}_subnet.{i}': (256, 256, 3, 3) for kind in ('cls', 'bbox') for i in (0, 2, 4, 6)},
    'head.cls_score': (720, 256, 3, 3), 'head.bbox_pred': (36, 256, 3, 3),
}


def tensors(shapes: dict) -> dict[str, torch.Tensor]:
    """Returns weights and biases for layers whose weights have the given shapes."""
    return {f'{name}.{kind}': torch.empty(shape, device='meta')
            for name, weight in shapes.items() for kind, shape in (('weight', weight), ('bias', weight[:1]))}


@pytest.mark.parametrize('config, golden, variant, prefix, parts', [
    ('mask_rcnn_regionvit_t', 'golden_regionvit_tiny_det', 'regionvit_tiny', 'backbone.bottom_up.model.',
     pyramid(2, [64, 128, 256, 512]) | MASK_RCNN),
    ('mask_rcnn_rest_lite', 'golden_rest_lite_det', 'rest_lite', 'backbone.bottom_up.',
     pyramid(2, [64, 128, 256, 512]) | MASK_RCNN),
    ('retinanet_rest_s', 'golden_rest_lite_det', 'rest_lite', 'backbone.bottom_up.',
     pyramid(3, [128, 256, 512]) | RETINANET),
])
def test_whole_detectors(config, golden, variant, prefix, parts, monkeypatch):
    """The converted checkpoint has exactly the names and shapes of mmdet's detector."""
    monkeypatch.setattr(logging.root.manager, 'disable', logging.INFO)
    config = Config.fromfile(ROOT / f'configs/{config}.py')
    config.model.backbone.update(arch=variant.rpartition('_')[2], init_cfg=None)
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(config.model).state_dict()
    backbone = {f'{prefix}{name}': torch.empty(shape, device='meta')
                for name, shape in GOLDENS[golden]['state_dict'].items()}
    buffers = dict.fromkeys(['pixel_mean', 'pixel_std', 'proposal_generator.anchor_generator.cell_anchors.0'])
    converted = convert_state_dict(variant, dict(model=backbone | tensors(parts) | buffers))
    shapes = {name: x.shape for name, x in converted.items()}
    if config.model.type == 'RetinaNet':  # RetinaNet does not use the first map
        del shapes['backbone.norm0.weight'], shapes['backbone.norm0.bias']
    assert shapes == {name: x.shape for name, x in model.items()}


def test_outputs_of_retinanet_are_those_of_mmdets_anchors():
    """detectron2 has the ratios of a size one after the other, and mmdet the sizes of a ratio."""
    theirs = torch.tensor([(size / ratio**0.5, size * ratio**0.5) for size in (32., 32. * 2**(1 / 3), 32. * 2**(2 / 3))
                           for ratio in (0.5, 1., 2.)])
    converted = convert_parts({'head.bbox_pred.bias': theirs.repeat(1, 2).flatten()})['bbox_head.retina_reg.bias']
    config = Config.fromfile(ROOT / 'configs/retinanet_rest_s.py').model.bbox_head.anchor_generator
    init_default_scope('mmdet')
    anchors = TASK_UTILS.build(config).base_anchors[0]
    torch.testing.assert_close(converted.view(9, 4)[:, :2], anchors[:, 2:] - anchors[:, :2])


def test_pyramid_is_numbered_by_its_lowest_level():
    values = {f'backbone.fpn_{kind}{i}.bias': torch.tensor(i) for kind in ('lateral', 'output') for i in (3, 4, 5)}
    converted = convert_parts(values)
    assert {name: x.item() for name, x in converted.items()} == {
        f'neck.{kind}_convs.{i}.conv.bias': i + 3 for kind in ('lateral', 'fpn') for i in range(3)}


def test_other_heads_are_left_out_with_a_message(logged):
    weights = {f'backbone.bottom_up.{name}': torch.zeros(1) for name in GOLDENS['golden_rest_lite_det']['state_dict']}
    weights['roi_heads.box_head.conv1.weight'] = torch.zeros(1)
    converted = convert_state_dict('rest_lite', weights)
    assert all(name.startswith('backbone.') for name in converted)
    assert 'pyramid and heads are not converted' in logged.text and 'roi_heads.box_head.conv1.weight' in logged.text
