"""Linear decode head for segmenters of mmseg, on all maps.

Importing this module registers it, which needs mmseg: ``custom_imports =
dict(imports=['mmvit_backbones.integrations.linear_decode_head'])``.
"""
from collections.abc import Sequence
from typing import Any

from mmengine.registry import MODELS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn


@MODELS.register_module()
class LinearDecodeHead(BaseDecodeHead):
    """Classifies each pixel by the sum of one linear layer per map, each after a batch norm and dropout.

    The linear probe of DINOv2 (Oquab et al., TMLR 2024, arXiv 2304.07193, section 7.4), with a layer for each map in
    place of one for their concatenation: it computes at the size of each map, and logits alone are resized.

    Args:
        in_channels (Sequence[int]): Channels of the maps.
        num_classes (int): Number of classes.
        in_index (Sequence[int] | None): Indices of the maps. Defaults to None: all in their order.
        dropout_ratio (float): Probability with which a channel of a map is set to 0. Defaults to 0.1.
        init_cfg (dict | list[dict] | None): Initialization config of MMEngine. Defaults to weights with a standard
            deviation of 0.01.
        arguments: Further arguments of mmseg's ``BaseDecodeHead``, such as ``loss_decode``.
    """

    def __init__(self, in_channels: Sequence[int], *, num_classes: int, in_index: Sequence[int] | None = None,
                 dropout_ratio: float = 0.1, init_cfg: dict | list[dict] | None = dict(  # noqa: B006  MMEngine copies it
                     type='Normal', layer='Conv2d', std=0.01), **arguments: Any) -> None:
        indices: Any = list(range(len(in_channels)) if in_index is None else in_index)
        super().__init__(list(in_channels), sum(in_channels), num_classes=num_classes, in_index=indices,
                         input_transform='multiple_select', dropout_ratio=dropout_ratio, init_cfg=init_cfg, **arguments)
        del self.conv_seg  # one layer for all maps
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(channels), nn.Dropout2d(dropout_ratio),
                          nn.Conv2d(channels, self.out_channels, 1, bias=level == 0))
            for level, channels in enumerate(in_channels))

    def forward(self, inputs: Sequence[Tensor]) -> Any:
        """Maps ``(B, C, H / stride, W / stride)`` to logits ``(B, classes, H / stride, W / stride)`` of the first."""
        logits = [layer(x) for layer, x in zip(self.layers, self._transform_inputs(inputs))]
        size = logits[0].shape[2:]
        return sum(resize(x, size, mode='bilinear', align_corners=self.align_corners) for x in logits)
