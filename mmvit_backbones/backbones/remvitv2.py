"""ReMViTv2: a multiscale vision transformer with attention residuals.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), based on MViTv2 (Li et al., CVPR 2022, arXiv 2112.01526).
"""
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import (
    DecomposedPosition,
    DropPath,
    Gate,
    Mlp,
    drop_path_schedule,
    init_linear,
    layers_with_gate,
)
from ..ops.residual_attention import residual_attention
from ..ops.resizing import adaptive_average, max_pool
from ..ops.sizes import ceil_div
from .arch import AttentionPyramidArch, resolve_arch
from .base import Backbone, CommonArguments

PATCH_STRIDE = 4
KEY_STRIDE = 4  # pooling stride of keys and values in the first stage; halved in each later stage, but at least 1
NORM_EPS = 1e-6


def pooled_grid(grid: Sequence[int], stride: int) -> tuple[int, int]:
    """Returns the rows and columns of a grid after pooling with ``stride``."""
    return ceil_div(grid[0], stride), ceil_div(grid[1], stride)


class ReMViTv2PatchEmbed(nn.Module):
    """Embeds images as tokens by a 7 x 7 convolution with stride 4."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 7, PATCH_STRIDE, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).permute(0, 2, 3, 1).contiguous()


class HeadPooling(nn.Module):
    """Pools each head with a depth-wise 3 x 3 convolution of stride ``stride`` and a LayerNorm, which all heads share.

    Paper: arXiv 2112.01526, equation 1.
    """

    def __init__(self, head_dim: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(head_dim, head_dim, 3, stride, padding=1, groups=head_dim, bias=False)
        self.norm = nn.LayerNorm(head_dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, num_heads, H, W, d)`` to ``(B, num_heads, h, w, d)``."""
        pooled = self.conv(x.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.norm(pooled).to(pooled.dtype).unflatten(0, x.shape[:2])  # GPUs autocast LayerNorm to float32


class PooledAttention(nn.Module):
    """Attention between pooled queries and keys; its logits are blended with the logits of the previous block.

    Paper: arXiv 2402.11301, equation 5.
    Paper: arXiv 2112.01526, figure 2.
    Paper: arXiv 2112.01526, equation 3.
    Paper: arXiv 2112.01526, equation 5.

    Args:
        grid (tuple[int, int]): Rows and columns of the input map for which relative positions are stored.
        query_stride (int): Pooling stride of the queries and therefore of the output.
        key_stride (int): Pooling stride of keys and values.
    """

    def __init__(self, in_channels: int, channels: int, num_heads: int, grid: tuple[int, int], query_stride: int,
                 key_stride: int) -> None:
        super().__init__()
        head_dim = channels // num_heads
        self.num_heads = num_heads
        self.query_stride = query_stride
        self.key_stride = key_stride
        self.qkv = nn.Linear(in_channels, 3 * channels)
        self.pool_q = HeadPooling(head_dim, query_stride)
        self.pool_k = HeadPooling(head_dim, key_stride)
        self.pool_v = HeadPooling(head_dim, key_stride)
        self.positions = DecomposedPosition(
            head_dim, pooled_grid(grid, query_stride), pooled_grid(grid, key_stride))
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, prev_logits: Tensor | None, alpha: Tensor | float) -> tuple[Tensor, Tensor]:
        """Returns the output ``(B, h, w, channels)`` and the blended logits of a map ``(B, H, W, in_channels)``.

        Logits are ``(B, num_heads, h * w, h' * w')``. The logits of the previous block may have a single head, which is
        then used for all heads. ``alpha`` is the weight of this block's own logits.
        """
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).permute(0, 3, 1, 2, 4)
                   for part in self.qkv(x).chunk(3, dim=-1))
        q, k, v = self.pool_q(q), self.pool_k(k), self.pool_v(v)
        query_grid, bias = q.shape[2:4], self.positions(q, k.shape[2:4])
        q, k, v = (part.flatten(2, 3) for part in (q, k, v))
        out, logits = residual_attention(q, k, v, prev_logits=prev_logits, alpha=alpha, bias=bias)
        return self.proj((out + q).transpose(1, 2).flatten(2).unflatten(1, query_grid)), logits

    def logits_shape(self, grid: Sequence[int]) -> tuple[int, ...]:
        """Returns the shape ``(num_heads, h, w, h', w')`` of the logits for an input with ``grid`` rows and columns."""
        return self.num_heads, *pooled_grid(grid, self.query_stride), *pooled_grid(grid, self.key_stride)


def resize(logits: Tensor, old_shape: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Resizes logits ``(B, heads, h * w, h' * w')`` of ``old_shape`` for a block with logits of ``shape``.

    Both shapes are those of :meth:`PooledAttention.logits_shape`. If the number of heads differs, the result has a
    single head, the mean of all heads. The axes of queries and keys are resized by :func:`adaptive_average`.

    Paper: arXiv 2402.11301, residual attention.
    """
    if logits.shape[1] not in (1, shape[0]):
        logits = logits.mean(1, keepdim=True)
    batch, heads = logits.shape[:2]
    x, lengths = logits, list(old_shape[1:])
    for axis, length in enumerate(shape[1:]):
        if length != lengths[axis]:
            x = adaptive_average(x.reshape(-1, lengths[axis], math.prod(lengths[axis + 1:])), length)
            lengths[axis] = length
    return x.view(batch, heads, lengths[0] * lengths[1], lengths[2] * lengths[3])


class ReMViTv2Block(nn.Module):
    """Pre-norm block of pooled attention with residual logits and an MLP.

    Paper: arXiv 2402.11301, residual attention.
    """

    def __init__(self, in_channels: int, channels: int, attn: PooledAttention, mlp_ratio: float,
                 drop_path: float) -> None:
        super().__init__()
        self.query_stride = attn.query_stride
        self.norm1 = nn.LayerNorm(in_channels, eps=NORM_EPS)
        self.attn = attn
        self.proj = nn.Linear(in_channels, channels) if in_channels != channels else None
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels, int(mlp_ratio * channels))

    def forward(self, x: Tensor, prev_logits: Tensor | None, alpha: Tensor | float) -> tuple[Tensor, Tensor]:
        """Maps ``(B, H, W, in_channels)`` and the previous logits to ``(B, h, w, channels)`` and blended logits."""
        y = self.norm1(x)
        attn, logits = self.attn(y, prev_logits, alpha)
        if self.proj is not None:
            x = self.proj(y)  # from the normalized input, as in the authors' code
        if self.query_stride > 1:
            x = max_pool(x, self.query_stride)
        x = self.drop_path(x, attn)
        return self.drop_path(x, self.mlp(self.norm2(x))), logits


@dataclass(frozen=True, kw_only=True)
class ReMViTv2Arch(AttentionPyramidArch):
    """Settings of :class:`ReMViTv2`, with the fields of :class:`AttentionPyramidArch`."""


@MODELS.register_module()
class ReMViTv2(Backbone):
    """ReMViTv2, an MViTv2 that blends the attention logits of each block with those of the previous block.

    From the second block on, the logits are ``S_i = alpha q k^T / sqrt(d) + (1 - alpha) resize(S_{i-1}) + P_i``. All
    blocks share one learned ``alpha``. The next block receives the logits including the decomposed relative positions
    ``P_i``. The features have strides 4, 8, 16 and 32, and a LayerNorm each.

    Departures from the authors' code:

    - Relative positions are interpolated for other image sizes; the authors' code stops, or reads other entries.
    - Logits pass between maps of any size; the authors' code needs square maps with even sides.
    - Classifiers return logits; those of the authors return probabilities when they are evaluated.

    Paper: arXiv 2402.11301, variants.
    Paper: arXiv 2112.01526, table 1.

    Args:
        arch (str | ReMViTv2Arch | dict): ``'tiny'``, a :class:`ReMViTv2Arch`, or a dict of its fields.
        img_size (int): Side in pixels of the square images for which relative positions are stored. Positions are
            interpolated for other image sizes, and when loading a checkpoint with another ``img_size``.
        residual_logits (bool): Whether blocks blend their logits with those of the previous block. False gives the
            ablation without attention residuals, which has no ``gate``.
        in_channels, out_indices, frozen_stages, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        drop_path_rate (float): Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ReMViTv2
        >>> [tuple(x.shape) for x in ReMViTv2('tiny')(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    block_types = (ReMViTv2Block, )
    no_decay = ('rel_pos', 'gate.weight')
    optional = (r'gate\.weight', )  # which MViTv2 lacks
    arch_zoo: dict[str, ReMViTv2Arch] = {
        'tiny': ReMViTv2Arch(embed_dims=96, depths=(1, 2, 5, 2), num_heads=(1, 2, 4, 8), mlp_ratio=4),
    }

    def __init__(self, arch: str | ReMViTv2Arch | dict = 'tiny', *, img_size: int = 224, residual_logits: bool = True,
                 drop_path_rate: float = 0.1, **common: Unpack[CommonArguments]) -> None:
        arch = resolve_arch(arch, self.arch_zoo)
        if img_size < 1:
            raise ValueError(f'img_size must be at least 1, got {img_size}')
        super().__init__(channels=arch.channels, strides=arch.strides, **common)

        self.stage_ends = [0, *accumulate(arch.depths)]
        self.patch_embed = ReMViTv2PatchEmbed(self.in_channels, self.channels[0])
        self.gate = Gate() if residual_logits else None
        blocks = []
        grid = pooled_grid((img_size, img_size), PATCH_STRIDE)
        for stage, drop_paths in enumerate(drop_path_schedule(drop_path_rate, arch.depths)):
            for i, drop_path in enumerate(drop_paths):
                is_transition = stage > 0 and i == 0  # changes channels and resolution
                channels = self.channels[stage]
                in_channels = self.channels[stage - 1] if is_transition else channels
                query_stride = 2 if is_transition else 1
                key_stride = max(KEY_STRIDE // 2**stage, 1)
                attn = PooledAttention(in_channels, channels, arch.num_heads[stage], grid, query_stride, key_stride)
                blocks.append(ReMViTv2Block(in_channels, channels, attn, arch.mlp_ratio, drop_path))
                grid = pooled_grid(grid, query_stride)
        self.blocks: Any = nn.ModuleList(blocks)
        self.add_output_norms(NORM_EPS)
        self.init_layers()
        self.freeze()

    def init_layers(self) -> None:
        self.apply(init_linear)

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        x = self.patch_embed(images)
        logits, shape, alpha = None, (), 1. if self.gate is None else self.gate(x)
        for number, block in enumerate(self.blocks, start=1):
            prev_shape, shape = shape, block.attn.logits_shape(x.shape[1:3])
            if logits is not None:
                # If the block resized the logits, its caller would keep the larger logits in memory.
                logits = resize(logits, prev_shape, shape)
            x, new_logits = self.run_block(block, x, logits, alpha)
            logits = None if self.gate is None else new_logits
            if number in self.stage_ends:
                yield x, self.output_norm(self.stage_ends.index(number) - 1)(x)

    def stage_output(self, stage: int) -> nn.Module:
        return self.blocks[self.stage_ends[stage + 1] - 1]

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        return layers_with_gate(self.blocks, self.gate)[self.stage_ends[stage]:self.stage_ends[stage + 1]]
