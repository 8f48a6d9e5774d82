"""Detectors that detectron2 saved, as mmdet's: pyramid and heads of its Mask R-CNN and RetinaNet.

Both libraries have the same layers under other names: anchors, box coding and order of classes are the same, too, but
for the anchors of RetinaNet, which detectron2 orders by size and mmdet by ratio.
"""
import re
from collections.abc import Callable, Iterable

from torch import Tensor

SIZES = RATIOS = 3  # of RetinaNet's anchors at a place

COMMON = {
    r'(.*\.)?anchor_generator\..*': None,  # constants, as the next
    r'pixel_(mean|std)': None,
}
MASK_RCNN = {
    **COMMON,
    r'proposal_generator\.rpn_head\.conv\.(weight|bias)': r'rpn_head.rpn_conv.\1',
    r'proposal_generator\.rpn_head\.objectness_logits\.(weight|bias)': r'rpn_head.rpn_cls.\1',
    r'proposal_generator\.rpn_head\.anchor_deltas\.(weight|bias)': r'rpn_head.rpn_reg.\1',
    r'roi_heads\.box_head\.fc1\.(weight|bias)': r'roi_head.bbox_head.shared_fcs.0.\1',
    r'roi_heads\.box_head\.fc2\.(weight|bias)': r'roi_head.bbox_head.shared_fcs.1.\1',
    r'roi_heads\.box_predictor\.cls_score\.(weight|bias)': r'roi_head.bbox_head.fc_cls.\1',
    r'roi_heads\.box_predictor\.bbox_pred\.(weight|bias)': r'roi_head.bbox_head.fc_reg.\1',
    r'roi_heads\.mask_head\.mask_fcn([1-4])\.(weight|bias)':
    lambda match: f'roi_head.mask_head.convs.{int(match[1]) - 1}.conv.{match[2]}',
    r'roi_heads\.mask_head\.deconv\.(weight|bias)': r'roi_head.mask_head.upsample.\1',
    r'roi_heads\.mask_head\.predictor\.(weight|bias)': r'roi_head.mask_head.conv_logits.\1',
}
RETINANET = {
    **COMMON,
    # A ReLU stands after each of the convolutions and is counted.
    r'head\.(cls|bbox)_subnet\.([0246])\.(weight|bias)':
    lambda match: f"bbox_head.{match[1].replace('bbox', 'reg')}_convs.{int(match[2]) // 2}.conv.{match[3]}",
    r'head\.cls_score\.(weight|bias)': r'bbox_head.retina_cls.\1',
    r'head\.bbox_pred\.(weight|bias)': r'bbox_head.retina_reg.\1',
}
# All but the backbone. `head.weight` is a classifier's.
OTHER_PARTS = re.compile(r'(backbone\.(fpn_\w+|top_block)|proposal_generator|anchor_generator|roi_heads|'
                         r'head\.(cls_subnet|bbox_subnet|cls_score|bbox_pred))\..*|pixel_(mean|std)')


def layout_of(parts: Iterable[str]) -> dict[str, str | Callable | None]:
    """How the parts of a detector other than its backbone are called in mmdet, as for :func:`layout.rename`."""
    names = list(parts)
    levels = [int(match[1]) for name in names if (match := re.match(r'backbone\.fpn_lateral(\d)', name))]
    lowest = min(levels, default=0)  # detectron2 numbers the levels by the logarithm of their stride

    def level(match: re.Match) -> str:
        kind = 'lateral' if match[1] == 'lateral' else 'fpn'
        return f'neck.{kind}_convs.{int(match[2]) - lowest}.conv.{match[3]}'

    pyramid = {
        r'backbone\.fpn_(lateral|output)(\d)\.(weight|bias)': level,
        r'backbone\.(top_block\.p)([67])\.(weight|bias)': level,
    }
    return {**pyramid, **(RETINANET if any(name.startswith('head.') for name in names) else MASK_RCNN)}


def order_by_ratio(x: Tensor) -> Tensor:
    """``(sizes * ratios * C, ...)`` to ``(ratios * sizes * C, ...)``: outputs for a place's anchors."""
    return x.unflatten(0, (SIZES, RATIOS, -1)).transpose(0, 1).flatten(0, 2)
