"""Backbones with detectron2's interface: named maps and ``output_shape()``.

https://detectron2.readthedocs.io/en/latest/modules/modeling.html#detectron2.modeling.Backbone

If detectron2 is installed, the class is a detectron2 ``Backbone`` for images of any size, otherwise a module.
"""
from collections import namedtuple

from torch import Tensor, nn

from ..backbones import Backbone

try:
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import Backbone as Base
except ImportError:
    Base = nn.Module
    ShapeSpec = namedtuple('ShapeSpec', 'channels height width stride', defaults=[None] * 4)


class Detectron2Backbone(Base):
    """A backbone with named maps, ``'stage0'`` and so on, for its ``out_indices``.

    Args:
        backbone (Backbone): Any of this package.

    Example:
        >>> import mmvit_backbones
        >>> from mmvit_backbones.integrations.detectron2 import Detectron2Backbone
        >>> backbone = mmvit_backbones.get_model('reswin_tiny', 'backbone', out_indices=(1, 3))
        >>> {name: shape.stride for name, shape in Detectron2Backbone(backbone).output_shape().items()}
        {'stage1': 8, 'stage3': 32}
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Returns NCHW maps by name, from images ``(B, in_channels, H, W)``."""
        return dict(zip(self.output_shape(), self.backbone(images), strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Returns the channels and stride of every map."""
        return {f'stage{i}': ShapeSpec(channels=self.backbone.channels[i], stride=self.backbone.strides[i])
                for i in self.backbone.out_indices}
