"""Swin Transformer with varied-size windows.

VSA: Learning Varied-Size Window Attention in Vision Transformers (Zhang et al., ECCV 2022, arXiv 2204.08446), based
on Swin Transformer (Liu et al., ICCV 2021, arXiv 2103.14030). The network is the one that VSA's first author published
later, as a baseline of Quadrangle Attention (arXiv 2303.15105).
"""
from dataclasses import dataclass

from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import ContextPosition, DropPath, Mlp, VariedSizeWindowAttention, init_linear
from .arch import resolve_arch
from .base import CommonArguments
from .swin import NORM_EPS, SwinArch, SwinBase


class SwinVSAAttention(VariedSizeWindowAttention):
    """Varied-size window attention in which one linear layer predicts both the offset and the scale of each head.

    Paper: arXiv 2204.08446, figure 3b.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, varied_windows: bool = True) -> None:
        super().__init__(channels, channels, num_heads, window_size, offset_divisor='padded',
                         varied_windows=varied_windows)

    def add_predictors(self, in_channels: int) -> None:
        self.predictor = nn.Linear(in_channels, 4 * self.num_heads)

    def predict(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        offset, scale = self.predictor(windows).unflatten(-1, (self.num_heads, 4)).split(2, dim=-1)
        return scale, offset


class VSABlock(nn.Module):
    """Swin block without shifted windows, after a position encoding.

    Paper: arXiv 2103.14030, equation 3.
    Paper: arXiv 2204.08446, figure 3c.
    """

    def __init__(self, channels: int, attn: nn.Module, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.position = ContextPosition(channels)
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, H, W, channels)``."""
        x = self.position(x)
        x = self.drop_path(x, self.attn(self.norm1(x)))
        return self.drop_path(x, self.mlp(self.norm2(x)))


@dataclass(frozen=True, kw_only=True)
class SwinVSAArch(SwinArch):
    """Settings of :class:`SwinVSA`, with the fields of :class:`SwinArch`."""


@MODELS.register_module()
class SwinVSA(SwinBase):
    """Swin Transformer with varied-size windows in all four stages.

    Patch embedding, patch merging, MLPs, channels and depths are those of Swin Transformer. Each block begins with a
    depth-wise 7 x 7 convolution that adds position encodings. Windows are not shifted, because predicted windows can
    overlap. At first, they are ordinary windows, because their predictors are initialized with zeros. The features have
    strides 4, 8, 16 and 32, and a LayerNorm each.

    Departures from the authors' code:

    - Gradients of positions outside the map are not pushed inward, which the authors' code can do.

    Paper: arXiv 2204.08446, variants.
    Paper: arXiv 2103.14030, table 7.

    Args:
        arch (str | SwinVSAArch | dict): ``'tiny'``, ``'small'``, a :class:`SwinVSAArch`, or a dict of its fields.
        window_size (int | None): Side of the windows in tokens. None uses ``window_size`` of ``arch``. Position biases
            of checkpoints with another window size are resized on load.
        varied_windows (bool): Whether windows are moved and scaled. False gives the ablation with fixed windows.
        in_channels, out_indices, frozen_stages, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        drop_path_rate (float): Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import SwinVSA
        >>> [tuple(x.shape) for x in SwinVSA('tiny')(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    block_types = (VSABlock, )
    no_decay = ('relative_position_bias_table', )
    optional = (r'.*\.position\.conv\.\w+', r'.*\.attn\.predictor\.\w+')  # which Swin lacks
    arch_zoo: dict[str, SwinVSAArch] = {
        'tiny': SwinVSAArch(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7, mlp_ratio=4),
        'small': SwinVSAArch(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), window_size=7, mlp_ratio=4),
    }

    def __init__(self, arch: str | SwinVSAArch | dict = 'tiny', *, window_size: int | None = None,
                 varied_windows: bool = True, drop_path_rate: float = 0.1, **common: Unpack[CommonArguments]) -> None:
        self.varied_windows = varied_windows
        super().__init__(resolve_arch(arch, self.arch_zoo), window_size, drop_path_rate, **common)

    def init_layers(self) -> None:
        self.apply(init_linear)
        for module in self.modules():
            if isinstance(module, SwinVSAAttention) and module.varied_windows:
                nn.init.zeros_(module.predictor.weight)

    def make_block(self, channels: int, num_heads: int, mlp_ratio: float, drop_path: float) -> nn.Module:
        attn = SwinVSAAttention(channels, num_heads, self.window_size, self.varied_windows)
        return VSABlock(channels, attn, mlp_ratio, drop_path)
