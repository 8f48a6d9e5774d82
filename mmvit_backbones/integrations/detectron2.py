"""Backbones as detectron2 wants them: named maps, and ``output_shape()`` that describes them.

https://detectron2.readthedocs.io/en/latest/modules/modeling.html#detectron2.modeling.Backbone

Where detectron2 is installed, the class is one of its backbones, for images of any size. Elsewhere it is a module.
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
    """A backbone whose maps have names, ``'stage0'`` and so on, as its ``out_indices`` say.

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
        """``(B, in_channels, H, W)`` to NCHW maps by name."""
        return dict(zip(self.output_shape(), self.backbone(images), strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of every map."""
        return {f'stage{i}': ShapeSpec(channels=self.backbone.channels[i], stride=self.backbone.strides[i])
                for i in self.backbone.out_indices}
