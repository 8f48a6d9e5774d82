"""LayerNorm whose output need not be saved."""
from torch import Tensor, nn

from ..ops.recompute import recomputable


class LayerNorm(nn.LayerNorm):
    """``nn.LayerNorm`` whose output the next layer may recompute: see :mod:`mmvit_backbones.ops.recompute`."""

    def forward(self, x: Tensor) -> Tensor:
        return recomputable(super().forward, x)
