"""Converts the pyramid and heads of detectron2's Mask R-CNN and RetinaNet to mmdet's layout.

Both libraries have the same layers under different names, and the same box coding and order of classes. They
also have the same anchors, but detectron2 orders RetinaNet's anchors by size first, and mmdet by ratio first.
"""
import re
from collections.abc import Iterable

from torch import Tensor

SIZES = RATIOS = 3  # anchor sizes and aspect ratios of RetinaNet at each position

HEADS = {
    r'(.*\.)?anchor_generator\..*|pixel_(mean|std)': None,  # constants
    # Mask R-CNN
    r'proposal_generator\.rpn_head\.conv': 'rpn_head.rpn_conv',
    r'proposal_generator\.rpn_head\.objectness_logits': 'rpn_head.rpn_cls',
    r'proposal_generator\.rpn_head\.anchor_deltas': 'rpn_head.rpn_reg',
    **{rf'roi_heads\.box_head\.fc{i + 1}': f'roi_head.bbox_head.shared_fcs.{i}' for i in range(2)},
    r'roi_heads\.box_predictor\.cls_score': 'roi_head.bbox_head.fc_cls',
    r'roi_heads\.box_predictor\.bbox_pred': 'roi_head.bbox_head.fc_reg',
    **{rf'roi_heads\.mask_head\.mask_fcn{i + 1}': f'roi_head.mask_head.convs.{i}.conv' for i in range(4)},
    r'roi_heads\.mask_head\.deconv': 'roi_head.mask_head.upsample',
    r'roi_heads\.mask_head\.predictor': 'roi_head.mask_head.conv_logits',
    # RetinaNet; detectron2's indices also count the ReLU after each convolution.
    **{rf'head\.cls_subnet\.{2 * i}': f'bbox_head.cls_convs.{i}.conv' for i in range(4)},
    **{rf'head\.bbox_subnet\.{2 * i}': f'bbox_head.reg_convs.{i}.conv' for i in range(4)},
    r'head\.cls_score': 'bbox_head.retina_cls',
    r'head\.bbox_pred': 'bbox_head.retina_reg',
}
# Prefixes of all parts except the backbone; not `head.`, because `head.weight` belongs to classifiers.
OTHER_PARTS = ('backbone.fpn_', 'backbone.top_block.', 'proposal_generator.', 'anchor_generator.', 'roi_heads.',
               'head.cls_', 'head.bbox_', 'pixel_')


def layout_of(names: Iterable[str]) -> dict[str, str | None]:
    """Returns the layout for :func:`layout.rename` that renames a detector's parts other than the backbone."""
    levels = [int(match[1]) for name in names if (match := re.match(r'backbone\.fpn_lateral(\d)', name))]
    lowest = min(levels, default=0)  # detectron2 numbers levels by the binary logarithm of the stride
    kinds = {'fpn_lateral': 'lateral', 'fpn_output': 'fpn', r'top_block\.p': 'fpn'}
    return HEADS | {rf'backbone\.{theirs}{level}': f'neck.{ours}_convs.{level - lowest}.conv'
                    for theirs, ours in kinds.items() for level in range(lowest, 8)}


def order_by_ratio(x: Tensor) -> Tensor:
    """Reorders a head's output channels from ``(sizes * ratios * C, ...)`` to ``(ratios * sizes * C, ...)``."""
    return x.unflatten(0, (SIZES, RATIOS, -1)).transpose(0, 1).flatten(0, 2)
