"""Splits segmenters of mmseg into parts that can be exported."""
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name

from .preprocess import Geometry, MatrixPool, size_of

MODELS = 'EncoderDecoder',
DECODE_HEADS = 'LinearDecodeHead', 'UPerHead', 'FPNHead', 'FCNHead', 'SegformerHead'


def check(model: Any, geometry: Geometry) -> None:
    head = model['decode_head']
    if type_name(head) not in DECODE_HEADS:
        raise UsageError(f'decode_head {type_name(head)} cannot be exported; allowed are {", ".join(DECODE_HEADS)}')
    mode = model.get('test_cfg', {}).get('mode', 'whole')
    if mode != 'whole':
        raise UsageError(f'model.test_cfg.mode must be whole, got {mode}: sliding windows cannot be exported')
    if head.get('out_channels') == 1 or head.num_classes < 2:
        raise UsageError('a segmenter with one output channel cannot be exported')


def take_apart(model: Any, geometry: Geometry) -> tuple[nn.Module, nn.Module, str, list[str]]:
    for name, pool in list(model.named_modules()):
        if isinstance(pool, nn.AdaptiveAvgPool2d):
            model.set_submodule(name, MatrixPool(pool.output_size))
    return Segment(model), ClassOfPixels(geometry, model.align_corners), 'images', ['segmentation']


class Segment(nn.Module):
    """Computes the decode head's logits from images ``(B, 3, H, W)``, and resizes them to ``(B, classes, H, W)``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        model: Any = self.model
        logits = model.decode_head(model.extract_feat(images))
        return F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=model.align_corners)


class ClassOfPixels(nn.Module):
    """Resizes logits without those of the padding to the size of the images, and returns each pixel's best class."""

    def __init__(self, geometry: Geometry, align_corners: bool) -> None:
        super().__init__()
        self.geometry, self.align_corners = geometry, align_corners

    def forward(self, images: Tensor, *maps: Tensor) -> Tensor:
        logits = maps[0]
        if self.geometry.divisor > 1:
            height, width = (side.long().item() for side in self.geometry.resized(images))
            for side, whole in zip((height, width), logits.shape[2:]):
                torch._check(side >= 1)
                torch._check(side <= whole)
            logits = logits[:, :, :height, :width]
        size = tuple(size_of(images))
        return F.interpolate(logits, size, mode='bilinear', align_corners=self.align_corners).argmax(1)
