"""Backbones with a feature pyramid, for torchvision's detectors.

https://pytorch.org/vision/stable/models.html#object-detection
"""
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torchvision.models.detection import backbone_utils
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool

from ..backbones import Backbone


class BackboneWithFPN(backbone_utils.BackboneWithFPN):
    """torchvision's ``BackboneWithFPN`` for the backbones of this package.

    torchvision's detectors normalize RGB images in [0, 1] with ImageNet's mean and standard deviation.

    Args:
        backbone (Backbone): Backbone whose strides double from each map to the next.
        out_channels (int): Channels of the maps. Defaults to 256.
        extra_blocks (ExtraFPNBlock | None): Module that adds maps. Defaults to None:
            ``LastLevelMaxPool``.
        norm_layer (Callable | None): Norm after each convolution of the FPN. Defaults to None: no norm.

    Raises:
        ValueError: If the strides do not double.

    Example:
        >>> import mmvit_backbones
        >>> from torchvision.models.detection import MaskRCNN
        >>> from mmvit_backbones.integrations.torchvision import BackboneWithFPN
        >>> backbone = BackboneWithFPN(mmvit_backbones.get_model('rest_lite', 'backbone'), out_channels=64)
        >>> detector = MaskRCNN(backbone, num_classes=91)
    """

    def __init__(self, backbone: Backbone, out_channels: int = 256, extra_blocks: ExtraFPNBlock | None = None,
                 norm_layer: Callable[..., nn.Module] | None = None) -> None:
        nn.Module.__init__(self)  # torchvision's constructor splits the backbone into its children
        strides = [backbone.output_strides[i] for i in backbone.out_indices]
        if any(2 * before != stride for before, stride in pairwise(strides)):
            raise ValueError(f'backbone must return maps whose strides double, got strides {strides}')
        self.body = nn.ModuleDict(dict(backbone=backbone))
        self.fpn = FeaturePyramidNetwork([backbone.channels[i] for i in backbone.out_indices], out_channels,
                                         extra_blocks or LastLevelMaxPool(), norm_layer)
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Returns the maps of the FPN for images ``(B, in_channels, H, W)``.

        They are named ``'0'``, ``'1'`` and so on; ``extra_blocks`` names the maps that it adds, by default ``'pool'``.
        """
        return self.fpn({str(i): features for i, features in enumerate(self.body['backbone'](x))})
