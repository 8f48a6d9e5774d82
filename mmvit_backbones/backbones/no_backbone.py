"""Takes the place of a backbone in models whose necks and heads serve as initial values."""
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class NoBackbone(BaseModule):
    """Returns maps of zeros ``(B, 256, H / stride, W / stride)`` for the strides 4, 8, 16 and 32."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        height, width = images.shape[2:]
        return tuple(images.new_zeros(len(images), 256, -(-height // s), -(-width // s)) for s in (4, 8, 16, 32))
