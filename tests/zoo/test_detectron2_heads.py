"""Detectors in detectron2's layout give the same outputs after conversion to mmdet's layout."""
import logging

import pytest
import torch
import torch.nn.functional as F
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


def tensors(shapes: dict, device: str = 'meta') -> dict[str, torch.Tensor]:
    """Returns random weights and biases for layers whose weights have the given shapes."""
    return {f'{name}.{kind}': torch.randn(shape, device=device) * 0.01
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


@torch.no_grad()
def test_retinanet_finds_the_same():
    """At every position, the sum of the boxes weighted by score is the same; the order of the anchors differs."""
    torch.manual_seed(0)
    channels = [128, 256, 512]
    weights = tensors(pyramid(3, channels) | RETINANET, 'cpu')
    maps = [torch.randn(1, width, 16 >> i, 16 >> i) for i, width in enumerate(channels)]

    def conv(name, x, **kwargs):
        return F.conv2d(x, weights[f'{name}.weight'], weights[f'{name}.bias'], **kwargs)

    def subnet(kind, x):
        for i in (0, 2, 4, 6):
            x = F.relu(conv(f'head.{kind}_subnet.{i}', x, padding=1))
        return x

    top_down, levels = 0, []
    for i in (5, 4, 3):
        top_down = conv(f'backbone.fpn_lateral{i}', maps[i - 3]) + top_down
        levels.insert(0, conv(f'backbone.fpn_output{i}', top_down, padding=1))
        top_down = F.interpolate(top_down, scale_factor=2)
    levels.append(conv('backbone.top_block.p6', maps[-1], stride=2, padding=1))
    levels.append(conv('backbone.top_block.p7', F.relu(levels[-1]), stride=2, padding=1))
    expected = []
    for i, level in enumerate(levels, start=3):
        scores = conv('head.cls_score', subnet('cls', level), padding=1)[0].unflatten(0, (9, 80)).sigmoid()
        deltas = conv('head.bbox_pred', subnet('bbox', level), padding=1)[0].unflatten(0, (9, 4))
        sizes = [4 * 2**i * 2**(octave / 3) for octave in range(3)]
        anchors = torch.tensor([(size / ratio**0.5, size * ratio**0.5) for size in sizes for ratio in (0.5, 1., 2.)])
        places = torch.arange(level.shape[-1]) * 2.**i
        centers = torch.stack(torch.meshgrid(places, places, indexing='xy'))[None]
        centers = centers + deltas[:, :2] * anchors[..., None, None]
        sides = deltas[:, 2:].exp() * anchors[..., None, None]
        boxes = torch.cat([centers - sides / 2, centers + sides / 2], dim=1)
        expected.append(torch.einsum('akhw,abhw->hwkb', scores, boxes).flatten(0, 1))

    config = Config.fromfile(ROOT / 'configs/retinanet_rest_s.py').model
    init_default_scope('mmdet')
    neck, head = MODELS.build(config.neck), MODELS.build({**config.bbox_head, 'train_cfg': None, 'test_cfg': None})
    converted = convert_parts(weights)
    for part, prefix in ((neck, 'neck.'), (head, 'bbox_head.')):
        part.load_state_dict({name.removeprefix(prefix): x for name, x in converted.items() if name.startswith(prefix)})
    scores, deltas = head(neck(maps))
    anchors = head.prior_generator.grid_priors([x.shape[-2:] for x in scores], device='cpu')
    coder = TASK_UTILS.build(config.bbox_head.bbox_coder)
    for score, delta, anchor, wanted in zip(scores, deltas, anchors, expected, strict=True):
        score = score[0].permute(1, 2, 0).reshape(-1, 9, 80).sigmoid()
        boxes = coder.decode(anchor, delta[0].permute(1, 2, 0).reshape(-1, 4)).reshape(-1, 9, 4)
        torch.testing.assert_close(torch.einsum('nak,nab->nkb', score, boxes), wanted, rtol=1e-4, atol=1e-2)


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
