"""From the last map to one vector per picture."""
from collections.abc import Sequence

from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class NormPooling(nn.Module):
    """LayerNorm of every token of the last map, then the mean: for networks that normalise outside of their trunk.

    Args:
        in_channels (int): Channels of the map.
        eps (float): Of the norm. Defaults to 1e-6.
    """

    def __init__(self, in_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels, eps=eps)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Maps ``(B, C, H, W)``, of which the last is read, to ``(B, in_channels)``."""
        return self.norm(maps[-1].permute(0, 2, 3, 1)).mean((1, 2)),
