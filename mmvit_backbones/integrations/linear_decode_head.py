"""Linear decode head for segmenters of mmseg, on all maps, and a cross entropy whose mean is over labeled pixels.

Importing this module registers both, which needs mmseg: ``custom_imports =
dict(imports=['mmvit_backbones.integrations.linear_decode_head'])``.
"""
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.registry import MODELS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn


@MODELS.register_module()
class LabeledCrossEntropy(nn.Module):
    """Computes the mean cross entropy of labeled pixels, as PyTorch does with ``reduction='mean'``.

    mmseg's loss fails with weights of the classes and ``avg_non_ignore=True``, and without both its mean is over
    all pixels.

    Args:
        class_weight (Sequence[float] | None): Weights of the classes. Defaults to None: equal ones.
        loss_weight (float): Weight of the loss. Defaults to 1.
    """

    loss_name = 'loss_ce'

    def __init__(self, class_weight: Sequence[float] | None = None, loss_weight: float = 1.) -> None:
        super().__init__()
        self.class_weight, self.loss_weight = class_weight, loss_weight

    def forward(self, logits: Tensor, labels: Tensor, weight: Tensor | None = None, ignore_index: int = -100,
                reduction_override: str | None = None) -> Tensor:
        """Returns the loss of logits ``(B, classes, ...)`` and labels ``(B, ...)``.

        Args:
            logits, labels (Tensor): The logits and labels.
            weight (Tensor | None): Weights of the pixels by a sampler ``(B, ...)``. Defaults to None: 1.
            ignore_index (int): Label of pixels without a class. Defaults to -100: none.
            reduction_override (str | None): 'none' for the losses of the pixels, which samplers compare. Defaults to
                None: their mean, which is 0 if no pixel has a label.
        """
        classes = logits.new_tensor([1.] * logits.shape[1] if self.class_weight is None else self.class_weight)
        losses = F.cross_entropy(logits, labels, classes, ignore_index=ignore_index, reduction='none')
        if reduction_override == 'none':
            return self.loss_weight * losses
        total = classes[labels[labels != ignore_index]].sum(dtype=losses.dtype)  # in half precision, it overflows
        return self.loss_weight * (losses if weight is None else losses * weight).sum() / total.clamp(min=1e-6)


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
