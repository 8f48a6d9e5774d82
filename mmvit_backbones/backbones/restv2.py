"""ResTv2: ResT with standard attention and an additional branch that upsamples the values.

ResT V2: Simpler, Faster and Stronger (Zhang and Yang, NeurIPS 2022, arXiv 2204.07366).
"""
from typing import Literal

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..ops.window import channels_last, crop
from .arch import resolve_arch
from .base import CommonArguments
from .rest import PixelAttention, ReducedAttention, ResTArch, ResTBase

NORM_EPS = 1e-6


class ResTv2Stem(nn.Module):
    """Embeds images as tokens by two convolutions with stride 2, a 1 x 1 convolution, pixel attention and LayerNorm."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels // 2, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels // 2)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.pos = PixelAttention(channels)
        self.norm3 = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, images: Tensor) -> Tensor:
        """Maps ``(B, in_channels, H, W)`` to ``(B, H / 4, W / 4, C)``, rounded up."""
        x = channels_last(images)  # all later maps keep this layout
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.relu2(self.norm2(self.conv2(x)))
        return self.norm3(self.pos(self.conv3(x)).permute(0, 2, 3, 1))


class ResTv2Downsample(nn.Module):
    """Halves the sides of a map between two stages by a convolution, pixel attention and LayerNorm."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.pos = PixelAttention(channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, in_channels, H, W)`` to ``(B, H / 2, W / 2, C)``, rounded up."""
        return self.norm(self.pos(self.conv(x)).permute(0, 2, 3, 1))


class EMSAv2(ReducedAttention):
    """Efficient multi-head self-attention, version 2.

    With ``upsampling``, a depth-wise convolution and a pixel shuffle upsample the values to full resolution. The result
    is added to the output of standard attention.

    Paper: arXiv 2204.07366, EMSAv2.
    """

    def __init__(self, channels: int, num_heads: int, reduction: int, eps: float, upsampling: bool = True) -> None:
        super().__init__(channels, num_heads, reduction, eps)
        self.upsampling = upsampling
        if upsampling:
            self.up = nn.Conv2d(channels, channels * reduction**2, 3, padding=1, groups=channels)
            self.up_norm = nn.LayerNorm(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, H, W, C)`` of a normalized map."""
        keys, values = self.keys_and_values(x)
        q, k, v = map(self.by_head, (self.q(x), keys, values))
        out = F.scaled_dot_product_attention(q, k, v)
        out = out.transpose(1, 2).reshape(x.shape)
        if self.upsampling:
            out = out + self.upsample(values, *x.shape[1:3])
        return self.proj(out)

    def upsample(self, values: Tensor, height: int, width: int) -> Tensor:
        """Maps values ``(B, ceil(height / r), ceil(width / r), C)`` to a normalized map ``(B, height, width, C)``."""
        b, h, w, c = values.shape
        r = self.reduction
        x = self.up(values.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        if r > 1:  # nn.PixelShuffle for channels-last maps, with a single copy
            x = x.view(b, h, w, c, r, r).permute(0, 1, 4, 2, 5, 3).reshape(b, h * r, w * r, c)
        return self.up_norm(crop(x, height, width))


@MODELS.register_module()
class ResTv2(ResTBase):
    """ResTv2, which differs from :class:`ResT` in its stem, downsampling and attention.

    The features have strides 4, 8, 16 and 32.

    Departures from the authors' code:

    - Maps have the sizes that the convolutions give; the authors' code needs multiples of 32 pixels.
    - Detectors and segmenters load the last output norm of classifiers; those of the authors train it from scratch.

    Paper: arXiv 2204.07366, variants.

    Args:
        arch (str | ResTArch | dict): ``'tiny'``, ``'small'``, ``'base'``, ``'large'``, a :class:`ResTArch`, or a dict
            of its fields.
        out_norm (str | None): Where the LayerNorms of the returned stages are applied; see :class:`ResT`. Published v2
            models require the default, ``'side'``.
        upsampling (bool): Whether attention adds upsampled values. False gives the ablation without upsampling.
        in_channels, out_indices, frozen_stages, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        drop_path_rate (float): Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ResTv2
        >>> [tuple(x.shape) for x in ResTv2('tiny')(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    arch_zoo: dict[str, ResTArch] = {
        'tiny': ResTArch(
            embed_dims=96, depths=(1, 2, 6, 2), num_heads=(1, 2, 4, 8), reductions=(8, 4, 2, 1), mlp_ratio=4),
        'small': ResTArch(
            embed_dims=96, depths=(1, 2, 12, 2), num_heads=(1, 2, 4, 8), reductions=(8, 4, 2, 1), mlp_ratio=4),
        'base': ResTArch(
            embed_dims=96, depths=(1, 3, 16, 3), num_heads=(1, 2, 4, 8), reductions=(8, 4, 2, 1), mlp_ratio=4),
        'large': ResTArch(
            embed_dims=128, depths=(2, 3, 16, 2), num_heads=(2, 4, 8, 16), reductions=(8, 4, 2, 1), mlp_ratio=4),
    }
    stem_type, downsample_type = ResTv2Stem, ResTv2Downsample
    norm_eps, zero_biases = NORM_EPS, (nn.Linear, nn.Conv2d)

    def __init__(self, arch: str | ResTArch | dict = 'tiny', *,
                 out_norm: Literal['side', 'in_stream'] | None = 'side', upsampling: bool = True,
                 drop_path_rate: float = 0.1, **common: Unpack[CommonArguments]) -> None:
        self.upsampling = upsampling
        super().__init__(resolve_arch(arch, self.arch_zoo), out_norm, drop_path_rate, **common)

    def make_attention(self, channels: int, num_heads: int, reduction: int) -> nn.Module:
        return EMSAv2(channels, num_heads, reduction, self.norm_eps, self.upsampling)
