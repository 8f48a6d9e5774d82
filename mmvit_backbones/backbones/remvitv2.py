"""ReMViTv2: a multiscale vision transformer with attention residuals.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), in the frame of MViTv2 (Li et al., CVPR 2022, arXiv 2112.01526).
"""
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers import (
    DecomposedPosition,
    DropPath,
    Gate,
    Mlp,
    add_product,
    attend,
    drop_path_schedule,
)
from .base import Backbone, check_num_heads, init_linear

PATCH_STRIDE = 4
KEY_STRIDE = 4  # of the first stage, relative to a block's input; it halves with every stage, down to 1
NORM_EPS = 1e-6


def pooled(grid: Sequence[int], stride: int) -> tuple[int, int]:
    """Rows and columns after a pooling of that stride."""
    return -(-grid[0] // stride), -(-grid[1] // stride)


class PatchEmbed(nn.Module):
    """Pixels to tokens: convolution with kernel 7 and stride 4."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, channels, 7, PATCH_STRIDE, padding=3)

    def forward(self, images: Tensor) -> Tensor:
        return self.proj(images).permute(0, 2, 3, 1).contiguous()


class HeadPooling(nn.Module):
    """Depthwise 3 x 3 convolution and LayerNorm that all heads share; :class:`PooledAttention` applies several at once.

    Args:
        head_dim (int): Channels of a head.
        stride (int): Of the convolution.
    """

    def __init__(self, head_dim: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(head_dim, head_dim, 3, stride, padding=1, groups=head_dim, bias=False)
        self.norm = nn.LayerNorm(head_dim, eps=NORM_EPS)


class PooledAttention(nn.Module):
    """Attention between pooled queries and pooled keys whose logits are blended with those of the block before.

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the output.
        num_heads (int): Number of heads.
        grid (tuple[int, int]): Rows and columns of the input for which the relative positions are stored.
        query_stride (int): By how much queries, and with them the output, are pooled.
        key_stride (int): By how much keys and values are pooled.
    """

    def __init__(self, in_channels: int, channels: int, num_heads: int, grid: tuple[int, int], query_stride: int,
                 key_stride: int) -> None:
        super().__init__()
        head_dim = channels // num_heads
        self.num_heads = num_heads
        self.scale = head_dim**-0.5
        self.strides = query_stride, key_stride
        self.qkv = nn.Linear(in_channels, 3 * channels)
        self.pool_q = HeadPooling(head_dim, query_stride)
        self.pool_k = HeadPooling(head_dim, key_stride)
        self.pool_v = HeadPooling(head_dim, key_stride)
        self.positions = DecomposedPosition(head_dim, pooled(grid, query_stride), pooled(grid, key_stride))
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, residual: Tensor | None, gate: Tensor) -> tuple[Tensor, Tensor]:
        """Attends.

        Args:
            x (Tensor): Normalised map ``(B, H, W, in_channels)``.
            residual (Tensor | None): What :meth:`pool_residual` makes of the logits of the block before.
            gate (Tensor): The weight of this block's own logits.

        Returns:
            tuple[Tensor, Tensor]: Map ``(B, h, w, channels)`` and this block's logits ``(B, heads, h, w, h', w')``.
        """
        query_grid, key_grid = self.grids(x)
        query, key, value = self.project_and_pool(x)
        logits = self.blend(query, key, residual, gate, query_grid, key_grid)
        x = attend(logits, value, skip=query)
        x = self.proj(x.transpose(1, 2).reshape(x.shape[0], *query_grid, self.proj.in_features))
        return x, logits.unflatten(3, key_grid).unflatten(2, query_grid)

    def grids(self, x: Tensor) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns of queries and of keys for a map ``(B, H, W, C)``."""
        return tuple(pooled(x.shape[1:3], stride) for stride in self.strides)

    def project_and_pool(self, x: Tensor) -> list[Tensor]:
        """Query, key and value, ``(B, heads, tokens, head_dim)`` each.

        Those with the same stride go through one convolution; no head is taken apart before.
        """
        query_stride, key_stride = self.strides
        pools = [self.pool_q, self.pool_k, self.pool_v]
        sizes = [3] if query_stride == key_stride else [1, 2]
        rows = [size * self.proj.in_features for size in sizes]
        out = []
        for size, weight, bias in zip(sizes, self.qkv.weight.split(rows), self.qkv.bias.split(rows)):
            group = pools[len(out):len(out) + size]
            maps = F.linear(x, weight, bias).permute(0, 3, 1, 2)
            kernels = torch.stack([pool.conv.weight for pool in group]).unsqueeze(1)
            kernels = kernels.expand(-1, self.num_heads, -1, -1, -1, -1).flatten(0, 2)
            maps = F.conv2d(maps, kernels, stride=group[0].conv.stride, padding=1, groups=len(kernels))
            # (B, size * heads * head_dim, h, w) to size times (B, heads, h * w, head_dim), in one copy
            maps = maps.flatten(2).unflatten(1, (size, self.num_heads, -1)).permute(1, 0, 2, 4, 3).contiguous()
            out += [pool.norm(m).to(m.dtype) for pool, m in zip(group, maps.unbind(0))]
        return out

    def pool_residual(self, logits: Tensor | None, x: Tensor) -> Tensor | None:
        """Logits of the block before, pooled to this block's grids for the map ``x``.

        The mean of the heads, where their number changes; average pooling of keys, then of queries, where the grid
        shrinks. Where the grid of the keys grows, :meth:`blend` reads every key several times instead.

        Args:
            logits (Tensor | None): ``(B, heads, h, w, h', w')``.
            x (Tensor): ``(B, H, W, C)``.
        """
        if logits is None:
            return None
        query_grid, key_grid = self.grids(x)
        if logits.shape[1] != self.num_heads:
            logits = logits.mean(1, keepdim=True)
        return pool_queries(pool_keys(logits, key_grid), query_grid)

    def blend(self, query: Tensor, key: Tensor, residual: Tensor | None, gate: Tensor, query_grid: tuple[int, int],
              key_grid: tuple[int, int]) -> Tensor:
        """Own logits, blended with those of the block before (paper, equation 5), plus relative positions.

        One buffer takes the residual and the positions, then the product of query and key is added in place.

        Returns:
            Tensor: ``(B, heads, queries, keys)`` in the dtype of ``query``, which under autocast is the lower one.
        """
        rows, columns = self.positions(query, query_grid, key_grid)
        if residual is None:
            return add_product(rows + columns, query, key, alpha=self.scale)
        keep = (1 - gate).to(query.dtype)
        residual = interpolate_odd(residual, key_grid)
        height, width = residual.shape[4:]
        if (height, width) == key_grid:
            buffer = torch.addcmul(columns, residual, keep).add_(rows)
        else:
            buffer = torch.addcmul(columns.unflatten(5, (width, -1)), residual.unsqueeze(6), keep).flatten(5)
            buffer = buffer.unsqueeze(5) + rows.unflatten(4, (height, -1))
        return add_product(buffer, query * (gate * self.scale), key)


def pool_keys(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """Averages ``(B, heads, h, w, h', w')`` over keys; sizes that are none of multiples adaptively.

    Grows nothing, except while tracing, when :meth:`PooledAttention.blend` cannot see whether it has to.
    """
    if torch.jit.is_tracing():
        return average(average(logits, 4, grid[0]), 5, grid[1])
    height, width = logits.shape[4:]
    if height <= grid[0] and width <= grid[1]:
        return logits
    if height % grid[0] == 0 and width % grid[1] == 0:
        return logits.unflatten(5, (grid[1], -1)).unflatten(4, (grid[0], -1)).mean((5, 7))
    maps = F.adaptive_avg_pool2d(logits.flatten(2, 3).flatten(0, 1), grid)
    return maps.view(*logits.shape[:4], *grid)


def pool_queries(logits: Tensor, grid: tuple[int, int]) -> Tensor:
    """Likewise over queries."""
    if torch.jit.is_tracing():
        return average(average(logits, 2, grid[0]), 3, grid[1])
    height, width = logits.shape[2:4]
    if (height, width) == grid:
        return logits
    if height % grid[0] == 0 and width % grid[1] == 0:
        return logits.unflatten(3, (grid[1], -1)).unflatten(2, (grid[0], -1)).mean((3, 5))
    maps = logits.flatten(4).flatten(0, 1).permute(0, 3, 1, 2)  # keys are channels, which are last in memory
    maps = F.adaptive_avg_pool2d(maps, grid).permute(0, 2, 3, 1)
    return maps.reshape(*logits.shape[:2], *grid, *logits.shape[4:])


def average(x: Tensor, dim: int, length: int) -> Tensor:
    """Adaptive average pooling of one axis as a product, which a graph for pictures of all sizes can hold."""
    given = x.shape[dim]
    index, cell = torch.arange(given, device=x.device), torch.arange(length, device=x.device)[:, None]
    weight = ((index >= cell * given // length) & (index < -(-(cell + 1) * given // length))).to(x.dtype)
    return (x.transpose(dim, -1) @ (weight / weight.sum(1, keepdim=True)).T).transpose(dim, -1)


def interpolate_odd(residual: Tensor, grid: tuple[int, int]) -> Tensor:
    """Makes each axis of the keys one that ``grid`` is a multiple of.

    An axis grows from n to 2 n or, by adaptive pooling, to 2 n - 1, where each second key is the mean of its two
    neighbours: linear interpolation from end to end.
    """
    size = tuple(given if wanted % given == 0 else wanted for given, wanted in zip(residual.shape[4:], grid))
    if size == residual.shape[4:]:
        return residual
    maps = residual.flatten(2, 3).flatten(0, 1)
    return F.interpolate(maps, size, mode='bilinear', align_corners=True).view(*residual.shape[:4], *size)


class Block(nn.Module):
    """Pooled attention with residual logits, then the feed-forward half; pre-norm.

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the output.
        num_heads (int): Number of heads.
        grid (tuple[int, int]): Rows and columns of the input for which the relative positions are stored.
        query_stride (int): By how much the map shrinks.
        key_stride (int): By how much keys and values are pooled.
        mlp_ratio (int): Hidden channels of the feed-forward half, relative to ``channels``.
        drop_path (float): Probability of dropping each half.
    """

    def __init__(self, in_channels: int, channels: int, num_heads: int, grid: tuple[int, int], query_stride: int,
                 key_stride: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.query_stride = query_stride
        self.norm1 = nn.LayerNorm(in_channels, eps=NORM_EPS)
        self.attn = PooledAttention(in_channels, channels, num_heads, grid, query_stride, key_stride)
        self.proj = nn.Linear(in_channels, channels) if in_channels != channels else None
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels, mlp_ratio * channels)

    def forward(self, x: Tensor, residual: Tensor | None, gate: Tensor) -> tuple[Tensor, Tensor]:
        """From ``(B, H, W, in_channels)`` to ``(B, h, w, channels)`` and this block's logits."""
        y = self.norm1(x)
        attended, logits = self.attn(y, residual, gate)
        x = self.skip(x, y) + self.drop_path(attended)
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x, logits

    def skip(self, x: Tensor, normed: Tensor) -> Tensor:
        """Around the attention; where channels change, from the normalised input, as published."""
        if self.proj is not None:
            x = self.proj(normed)
        if self.query_stride > 1:
            x = F.max_pool2d(x.permute(0, 3, 1, 2), 3, self.query_stride, padding=1).permute(0, 2, 3, 1)
        return x


@MODELS.register_module()
class ReMViTv2(Backbone):
    """ReMViTv2, an MViTv2 that blends each block's attention logits with those of the block before.

    ``S_i = g q k^T / sqrt(d) + (1 - g) resize(S_{i-1}) + P_i`` with one learned number ``g`` for all blocks and the
    decomposed relative positions ``P_i``, which are handed on with the rest. Works at any image size from one pixel up.

    Args:
        arch (str | dict): ``'tiny'``, or a dict with ``embed_dims`` (int), ``depths`` and ``num_heads`` (a list each,
            one entry per stage) and ``mlp_ratio`` (int).
        in_channels (int): Channels of the images. Defaults to 3.
        out_indices (Sequence[int] | int): Stages whose maps are returned, each after a LayerNorm of its own.
            Defaults to (0, 1, 2, 3): strides 4, 8, 16, 32.
        img_size (int): Side of the pictures that the stored relative positions are for, in pixels; others are
            interpolated, and so are checkpoints of another size. Defaults to 224.
        drop_path_rate (float): Stochastic depth of the last block, rising linearly from 0. Defaults to 0.1.
        frozen_stages (int): -1 freezes nothing, 0 the patch embedding, ``n`` also the first ``n`` stages. Default: -1.
        norm_eval (bool): Accepted as for every backbone; the network has no batch norms. Defaults to False.
        with_cp (bool): Recompute blocks in the backward pass. Defaults to False.
        init_cfg (dict | list[dict] | None): MMEngine's. Defaults to None.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ReMViTv2
        >>> maps = ReMViTv2('tiny').eval()(torch.rand(1, 3, 64, 96))
        >>> [tuple(x.shape) for x in maps]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    arch_zoo = {'tiny': dict(embed_dims=96, depths=[1, 2, 5, 2], num_heads=[1, 2, 4, 8], mlp_ratio=4)}

    def __init__(self, arch: str | dict = 'tiny', *, img_size: int = 224, drop_path_rate: float = 0.1,
                 **kwargs) -> None:
        arch = self.resolve_arch(arch)
        if img_size < 1:
            raise ValueError(f'img_size must be at least 1, got {img_size}')
        self.depths, num_heads = arch['depths'], arch['num_heads']
        num_stages = len(self.depths)
        channels = [arch['embed_dims'] * 2**stage for stage in range(num_stages)]
        check_num_heads(channels, num_heads)
        strides = [PATCH_STRIDE * 2**stage for stage in range(num_stages)]
        super().__init__(channels=channels, strides=strides, **kwargs)

        self.patch_embed = PatchEmbed(self.in_channels, channels[0])
        self.gate = Gate()
        self.blocks = nn.ModuleList()
        grid = pooled((img_size, img_size), PATCH_STRIDE)
        for stage, drop_paths in enumerate(drop_path_schedule(drop_path_rate, self.depths)):
            for i, drop_path in enumerate(drop_paths):
                starts = stage > 0 and i == 0  # the first block of a stage leads to its channels and grid
                self.blocks.append(Block(
                    channels[stage - 1] if starts else channels[stage], channels[stage], num_heads[stage], grid,
                    query_stride=2 if starts else 1,
                    key_stride=max(KEY_STRIDE // 2**stage, 1), mlp_ratio=arch['mlp_ratio'], drop_path=drop_path))
                grid = pooled(grid, self.blocks[-1].query_stride)
        self.add_output_norms(NORM_EPS)
        self.apply(init_linear)
        self.freeze()

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        x = self.patch_embed(images)
        residual = None
        for stage in range(self.num_stages):
            for block in self.blocks_of(stage):
                residual = block.attn.pool_residual(residual, x)  # the whole one is free to go
                x, residual = self.run_block(block, x, residual, self.gate())
            yield x

    def blocks_of(self, stage: int) -> nn.ModuleList:
        before = sum(self.depths[:stage])
        return self.blocks[before:before + self.depths[stage]]

    def stem_modules(self) -> list[nn.Module]:
        return [self.patch_embed]

    def stage_modules(self, stage: int) -> list[nn.Module]:
        """The gate goes with the stage of the second block, which is the first to read it."""
        first = 0 if self.depths[0] > 1 else 1
        return [*self.blocks_of(stage), *([self.gate] if stage == first else [])]

    @property
    def num_layers(self) -> int:
        return len(self.blocks)

    def layer_of(self, name: str) -> int | None:
        """Layer of a parameter: 0 the stem, then a block each; the gate goes with the second, which is its first."""
        kind, *rest = name.split('.')
        if kind == 'blocks':
            return int(rest[0]) + 1
        return dict(patch_embed=0, gate=2).get(kind)
