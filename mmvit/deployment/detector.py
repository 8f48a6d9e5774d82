"""Splits detectors of mmdet into parts that can be exported, for one image."""
from typing import Any

from torch import Tensor, nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name

from .preprocess import Geometry

MODELS = 'RetinaNet', 'FasterRCNN', 'MaskRCNN', 'CascadeRCNN'
ROI_HEADS = 'StandardRoIHead', 'CascadeRoIHead'


def check(model: Any, geometry: Geometry) -> None:
    if geometry.crop:
        raise UsageError('CenterCrop in the test pipeline of a detector cannot be exported; remove it')
    if type_name(model) != 'RetinaNet' and type_name(model.roi_head) not in ROI_HEADS:
        raise UsageError(f'roi_head {type_name(model.roi_head)} cannot be exported; allowed are {", ".join(ROI_HEADS)}')
    for part in (model.test_cfg.get('rcnn'), model.test_cfg.get('rpn'), model.test_cfg):
        if part and type_name({'type': 'nms', **part.get('nms', {})}) != 'nms':
            raise UsageError(f'non-maximum suppression {type_name(part.nms)} cannot be exported; allowed is nms')


def take_apart(model: Any, geometry: Geometry) -> tuple[nn.Module, nn.Module, str, list[str]]:
    from .instances import RetinaNetBoxes, TwoStageInstances
    outputs = ['labels', 'scores', 'boxes']
    if not hasattr(model, 'roi_head'):
        return Detect(model), RetinaNetBoxes(model, geometry), 'image', outputs
    outputs += ['masks'] * model.roi_head.with_mask
    return Detect(model), TwoStageInstances(model, geometry), 'image', outputs


class Detect(nn.Module):
    """Computes the maps of RetinaNet's head, or the feature pyramid and the maps of the RPN."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        model: Any = self.model
        pyramid = model.extract_feat(images)
        if not hasattr(model, 'roi_head'):
            scores, deltas = model.bbox_head(pyramid)
            return *scores, *deltas
        scores, deltas = model.rpn_head(pyramid)
        return *pyramid, *scores, *deltas
