"""What plain classifiers do between the last map and the linear layer."""
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class PooledLayerNorm(BaseModule):
    """Mean over all positions, then LayerNorm.

    Args:
        in_channels (int): Channels of the maps.
        eps (float): Of the LayerNorm. Defaults to 1e-6.

    Example:
        >>> import torch
        >>> from mmvit_backbones.necks import PooledLayerNorm
        >>> PooledLayerNorm(8)((torch.rand(2, 8, 5, 6), ))[0].shape
        torch.Size([2, 8])
    """

    def __init__(self, in_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels, eps=eps)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """From maps ``(B, in_channels, H, W)`` to vectors ``(B, in_channels)``."""
        return tuple(self.norm(x.mean((2, 3))) for x in maps)
