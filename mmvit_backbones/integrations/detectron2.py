"""Backbones with detectron2's interface: named maps and ``output_shape()``.

https://detectron2.readthedocs.io/en/latest/modules/modeling.html#detectron2.modeling.Backbone

If detectron2 is installed, :class:`Detectron2Backbone` is a subclass of its ``Backbone``, otherwise of ``nn.Module``.
"""
from importlib import import_module
from typing import NamedTuple

from torch import Tensor, nn

from ..backbones import Backbone


class Shape(NamedTuple):
    """Replaces detectron2's ``ShapeSpec`` if detectron2 is not installed."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


# Imported by name, because type checkers cannot find detectron2, which is not on PyPI.
Base: type[nn.Module] = nn.Module
ShapeSpec: type[Shape] = Shape
try:
    Base = import_module('detectron2.modeling').Backbone
    ShapeSpec = import_module('detectron2.layers').ShapeSpec
except ImportError:
    pass


class Detectron2Backbone(Base):
    """A backbone that returns the maps of its ``out_indices`` by name: ``'stage0'`` and so on.

    Args:
        backbone (Backbone): Any backbone of this package.

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
        """Returns NCHW maps by name for images ``(B, in_channels, H, W)``."""
        return dict(zip(self.output_shape(), self.backbone(images), strict=True))

    def output_shape(self) -> dict[str, Shape]:
        """Returns channels and stride of each map."""
        return {f'stage{i}': ShapeSpec(channels=self.backbone.channels[i], stride=self.backbone.output_strides[i])
                for i in self.backbone.out_indices}
