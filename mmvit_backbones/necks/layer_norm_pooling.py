"""Neck that pools the last map to one vector per image, with a LayerNorm before or after the mean."""
from collections.abc import Sequence
from typing import Literal

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..utils.initialization import with_own_pretrained


@MODELS.register_module()
class LayerNormPooling(BaseModule):
    """Applies LayerNorm and the mean over all positions to the last map, for backbones without a final norm.

    Args:
        in_channels (int): Channels of the last map.
        order (str): ``'norm_first'`` normalizes each position before the mean, as in RegionViT. ``'pool_first'``
            normalizes the mean, as in plain ViTAE.
        eps (float): Epsilon of the norm.
        init_cfg (dict | list[dict] | None): Initialization config of MMEngine. ``dict(type='Pretrained',
            checkpoint=NAME)`` loads the norm of a classifier; a checkpoint without one leaves it as it is.

    Raises:
        ValueError: If ``order`` is unknown.

    Example:
        >>> import torch
        >>> from mmvit_backbones.necks import LayerNormPooling
        >>> LayerNormPooling(8, 'pool_first')((torch.rand(2, 8, 5, 6), ))[0].shape
        torch.Size([2, 8])
    """

    def __init__(self, in_channels: int, order: Literal['norm_first', 'pool_first'], eps: float = 1e-6,
                 init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(with_own_pretrained(init_cfg, 'PretrainedNeck'))
        if order not in ('norm_first', 'pool_first'):
            raise ValueError(f"order must be 'norm_first' or 'pool_first', got {order!r}")
        self.order = order
        self.norm = nn.LayerNorm(in_channels, eps=eps)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor]:
        """Returns a tuple of one tensor ``(B, in_channels)``, pooled from the last map ``(B, in_channels, H, W)``."""
        if self.order == 'pool_first':
            return self.norm(maps[-1].mean((2, 3))),
        return self.norm(maps[-1].permute(0, 2, 3, 1)).mean((1, 2)),
