"""Swin Transformer with varied-size windows.

VSA: Learning Varied-Size Window Attention in Vision Transformers (Zhang et al., ECCV 2022, arXiv 2204.08446), based
on Swin Transformer (Liu et al., ICCV 2021, arXiv 2103.14030). The authors published scores of this combination, but
neither code nor weights, so the details are this package's own definition.
"""
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers import ContextPosition, DropPath, Mlp, VariedSizeWindowAttention, init_linear, reset_projections
from .swin import NORM_EPS, SwinBase


class VSABlock(nn.Module):
    """Swin block with a position encoding before the attention's LayerNorm.

    Paper: arXiv 2103.14030, equation 3.
    Paper: arXiv 2204.08446, figure 3c.
    """

    def __init__(self, channels: int, attn: nn.Module, mlp_ratio: float, drop_path: float, position: nn.Module) -> None:
        super().__init__()
        self.position = position
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, H, W, channels)``."""
        x = x + self.drop_path(self.attn(self.norm1(self.position(x))))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@MODELS.register_module()
class SwinVSA(SwinBase):
    """Swin Transformer with varied-size windows in all four stages.

    This is the package's own definition, which may differ from the authors' network:

    - Patch embedding, patch merging, MLPs, channels and depths are those of Swin Transformer.
    - Attention and the 7 x 7 convolution before attention are those of the authors' ViTAEv2-VSA classifier: maps are
      padded at the right and bottom, and offsets are divided by the number of windows along their own axis. See
      :class:`ViTAEv2VSA`.
    - Windows are not shifted, because predicted windows can overlap.

    Paper: arXiv 2204.08446, variants.
    Paper: arXiv 2103.14030, table 7.

    Args:
        arch (str | dict): ``'tiny'``, ``'small'``, or a dict as for :class:`ReSwin`.
        kwargs: ``window_size`` as for :class:`ReSwin`, and common arguments of :class:`Backbone`.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import SwinVSA
        >>> [tuple(x.shape) for x in SwinVSA('tiny')(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    arch_zoo = {
        'tiny': dict(embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, mlp_ratio=4),
        'small': dict(embed_dims=96, depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24], window_size=7, mlp_ratio=4),
    }

    def init_layers(self) -> None:
        self.apply(init_linear)
        reset_projections(self)

    def make_block(self, channels: int, num_heads: int, mlp_ratio: float, drop_path: float) -> nn.Module:
        attn = VariedSizeWindowAttention(channels, channels, num_heads, self.window_size)
        return VSABlock(channels, attn, mlp_ratio, drop_path, ContextPosition(channels))
