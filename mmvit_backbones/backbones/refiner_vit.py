"""Refiner-ViT: a vision transformer that convolves its attention maps, and uses each of them twice.

Refiner: Refining Self-attention for Vision Transformers (Zhou et al., 2021, arXiv 2106.03714), figure 3.
"""
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers import (
    DropPath,
    Mlp,
    PositionEmbedding,
    at_least_float32,
    drop_path_schedule,
    pad_to_multiple,
    recompute,
    relu6_,
    trunc_normal_,
    without_autocast,
)
from .base import Backbone, init_linear

PATCH_SIZE = 16
STEM_CHANNELS = (32, 64, 128)
EXPANSION = 3  # channels inside the refiner, relative to the heads
NUM_TAPS = 4
NORM_EPS = 1e-6
OUT_TYPES = ('featmap', 'tokens')

# Numbers that the refiner's inner maps may have at a time, where maps are refined piece by piece. Without gradients:
# what stays in the caches of a CPU, and what keeps a GPU busy. With gradients: what is worth computing twice.
CPU_CHUNK, GPU_CHUNK, TRAINING_CHUNK = 2**19, 2**25, 2**27
MIN_ROWS = 8  # of a piece: the rows above and below it are computed for two pieces

Box = tuple[int, int, int, int]
NO_BOX = (0, 0, 0, 0)


class TokenFeatures(NamedTuple):
    """What a classifier reads.

    ``tokens`` are normalised, ``(B, 1 + h * w, C)``, the class token first; ``grid`` is ``(h, w)``; ``box`` (first row,
    first column, row and column behind the last) holds the patches of the next picture of the flipped batch; ``maps``
    are the attention maps carried behind every block, ``(B, heads, N, N)`` each, in training.
    """
    tokens: Tensor
    grid: tuple[int, int]
    box: Box
    maps: tuple[Tensor, ...]


class PatchEmbed(nn.Module):
    """Three convolutions, the first of stride 2, then patches of 8 x 8."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        a, b, c = STEM_CHANNELS
        self.conv1 = nn.Conv2d(in_channels, a, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.BatchNorm2d(a)
        self.conv2 = nn.Conv2d(a, b, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(b)
        self.conv3 = nn.Conv2d(b, c, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(c)
        self.proj = nn.Conv2d(c, channels, 8, stride=8)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, C, H / 16, W / 16)``, rounded down."""
        x = images.contiguous(memory_format=torch.channels_last)
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)):
            x = F.relu(norm(conv(x)) if norm.training else fold(conv, norm)(x), inplace=True)
        return self.proj(x)


class TokenEmbed(nn.Module):
    """Pictures to tokens: patches behind a class token, with learned positions."""

    def __init__(self, in_channels: int, channels: int, grid_size: int) -> None:
        super().__init__()
        self.patches = PatchEmbed(in_channels, channels)
        self.class_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.positions = PositionEmbedding(grid_size, channels, interpolation='bilinear')

    def forward(self, images: Tensor, box: Box) -> Tensor:
        """``(B, in_channels, H, W)`` to ``(B, 1 + h * w, C)``; patches in ``box`` are exchanged between pictures."""
        images = pad_to_multiple(images.permute(0, 2, 3, 1), PATCH_SIZE).permute(0, 3, 1, 2)
        x = self.patches(images)
        height, width = x.shape[2:]
        x = exchange(x.permute(0, 2, 3, 1), box).flatten(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions(height, width)


def exchange(x: Tensor, box: Box) -> Tensor:
    """Swaps a box of maps ``(B, H, W, C)`` between the pictures of a batch: the first with the last, and so on."""
    if box == NO_BOX:
        return x
    row, column, last_row, last_column = box
    mixed = x.clone()
    mixed[:, row:last_row, column:last_column] = x.flip(0)[:, row:last_row, column:last_column]
    return mixed


def sample_box(height: int, width: int) -> Box:
    """A box as CutMix draws it (Yun et al., ICCV 2019, arXiv 1905.04899), on a grid of that size."""
    side = np.sqrt(1 - np.random.beta(1, 1))
    corners = []
    for length in (height, width):
        centre, half = np.random.randint(length), int(length * side) // 2
        corners.append((max(centre - half, 0), min(centre + half, length)))
    (row, last_row), (column, last_column) = corners
    return row, column, last_row, last_column


class Refiner(nn.Module):
    """Distributed local attention (paper, section 4.2): expands the heads, convolves the maps, reduces them again.

    A map is a picture of ``num_heads`` channels here, queries by keys, the class token's row and column included.
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        inner = EXPANSION * num_heads
        self.expand = nn.Conv2d(num_heads, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.project = nn.Conv2d(inner, num_heads, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(num_heads)

    @property
    def inner_channels(self) -> int:
        return self.expand.out_channels

    def forward(self, maps: Tensor) -> Tensor:
        """Keeps the shape ``(B, heads, queries, keys)``."""
        if not self.norm1.training:
            return refine(maps, *self.folded(maps.dtype))
        x = relu6_(self.expand_and_norm(maps)).unflatten(2, maps.shape[2:])
        x = relu6_(self.norm2(self.depthwise(x)))
        x = mix_channels(x, self.project.weight.flatten(1)).unflatten(2, maps.shape[2:])
        return self.norm3(x).add_(maps)

    def expand_and_norm(self, maps: Tensor) -> Tensor:
        """``(B, heads, queries, keys)`` to ``(B, 3 * heads, queries * keys)``, with the statistics of the batch.

        Those of the wide maps follow from the covariance of the narrow ones, which spares passes over wide maps.
        """
        norm = self.norm1
        if type(norm) is not nn.BatchNorm2d or norm.momentum is None:  # synchronised across processes, above all
            return norm(self.expand(maps)).flatten(2)
        dtype = at_least_float32(maps)
        weight = self.expand.weight.flatten(1).to(dtype)
        with without_autocast(maps.device.type):
            flat = maps.flatten(2).to(dtype)
            count = flat.shape[0] * flat.shape[2]
            means = flat.mean((0, 2))
            # No loss of digits that would matter: the difference is small only where the norm's epsilon is not.
            covariance = (flat @ flat.transpose(1, 2)).sum(0) / count - means.outer(means)
            mean, variance = weight @ means, (weight @ covariance * weight).sum(1).clamp(min=0)
            if norm.num_batches_tracked is not None:
                with torch.no_grad():
                    norm.num_batches_tracked.add_(1)
                    norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
                    norm.running_var.lerp_((variance * count / (count - 1)).to(norm.running_var), norm.momentum)
            scale = norm.weight * (variance + norm.eps).rsqrt()
            weight, bias = scale[:, None] * weight, norm.bias - scale * mean
        return mix_channels(maps, weight.to(maps.dtype), bias.to(maps.dtype))

    def folded(self, dtype: torch.dtype, scale: Tensor | float = 1., shift: Tensor | float = 0.) -> tuple[Tensor, ...]:
        """The convolutions with their norms in them, and behind the sum with the maps ``* scale + shift`` per head.

        Returns:
            tuple[Tensor, ...]: Weight and bias of expansion, depthwise convolution and reduction, then the weight of
            the maps themselves, ``(heads, 1)``.
        """
        (scale1, shift1), (scale2, shift2), (scale3, shift3) = map(affine, (self.norm1, self.norm2, self.norm3))
        scale = torch.as_tensor(scale, device=scale3.device).expand_as(scale3)
        folded = (scale1[:, None] * self.expand.weight.flatten(1), shift1,
                  scale2[:, None, None, None] * self.depthwise.weight, shift2,
                  (scale * scale3)[:, None] * self.project.weight.flatten(1), scale * shift3 + shift,
                  scale[:, None])
        return tuple(t.to(dtype) for t in folded)


def refine(maps: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor, weight3: Tensor,
           bias3: Tensor, identity: Tensor) -> Tensor:
    """The refiner with the weights of :meth:`Refiner.folded` on ``(B, heads, queries, keys)``."""
    x = relu6_(mix_channels(maps, weight1, bias1)).unflatten(2, maps.shape[2:])
    x = relu6_(F.conv2d(x, weight2, bias2, padding=1, groups=len(weight2)))
    return mix_channels(x, weight3, bias3).addcmul_(maps.flatten(2), identity).unflatten(2, maps.shape[2:])


def mix_channels(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1 x 1 convolution as a plain product: ``(B, C, H, W)`` with ``(D, C)`` and ``(D)`` to ``(B, D, H * W)``."""
    x, weight = x.flatten(2), weight.expand(x.shape[0], -1, -1)
    return weight @ x if bias is None else torch.baddbmm(bias[:, None], weight, x)


def fold(conv: nn.Conv2d, norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """A convolution without bias and the norm behind it as one convolution."""
    scale, shift = affine(norm)
    weight = (conv.weight * scale[:, None, None, None]).to(conv.weight.dtype)
    return lambda x: F.conv2d(x, weight, shift.to(weight.dtype), conv.stride, conv.padding)


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm with its running statistics, in float32 at least."""
    dtype = at_least_float32(norm.weight)
    scale = norm.weight.to(dtype) * (norm.running_var.to(dtype) + norm.eps).rsqrt()
    return scale, norm.bias.to(dtype) - norm.running_mean.to(dtype) * scale


def pieces(num_images: int, num_rows: int, row_size: int, limit: int) -> Iterator[tuple[slice, int, int]]:
    """Cuts maps into several pictures or some rows of one, of about ``limit`` numbers.

    Args:
        num_images (int): Pictures in the batch.
        num_rows (int): Queries.
        row_size (int): Numbers per query.
        limit (int): Numbers per piece.

    Yields:
        tuple[slice, int, int]: Pictures, first row, and the row behind the last.
    """
    rows = min(num_rows, max(MIN_ROWS, limit // row_size))
    images = max(1, limit // (row_size * num_rows))
    for image in range(0, max(num_images, 1), images):
        for row in range(0, num_rows, rows):
            yield slice(image, image + images), row, min(row + rows, num_rows)


def attend_in_pieces(maps: Callable[[slice, int, int], Tensor], value: Tensor, row_size: int, limit: int) -> Tensor:
    """``maps @ value`` piece by piece.

    Args:
        maps (Callable): From pictures, first row and the row behind the last to these rows of the maps.
        value (Tensor): ``(B, heads, N, d)``.
        row_size (int): Numbers that it takes to compute one row.
        limit (int): How many there may be at a time.

    Returns:
        Tensor: ``(B, heads, N, d)``.
    """
    num_images, _, num_rows, _ = value.shape
    if torch.compiler.is_compiling():  # a graph is for pictures of all sizes, and cuts none
        return maps(slice(None), 0, num_rows) @ value
    outs = [maps(images, row, last) @ value[images]
            for images, row, last in pieces(num_images, num_rows, row_size, limit)]
    rows = -(-num_rows // outs[0].shape[2])
    outs = [torch.cat(outs[i:i + rows], dim=2) if rows > 1 else outs[i] for i in range(0, len(outs), rows)]
    return torch.cat(outs) if len(outs) > 1 else outs[0]


def chunk_size(x: Tensor) -> int:
    if torch.is_grad_enabled():
        return TRAINING_CHUNK
    return CPU_CHUNK if x.is_cpu else GPU_CHUNK


class OwnAttention(nn.Module):
    """Attention that makes a map of its own and adds to it what is left of the map before.

    Args:
        channels (int): Channels.
        num_heads (int): Number of heads.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (channels // num_heads)**-0.5
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, carried: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, C)`` and the maps carried so far, ``(B, heads, N, N)`` or None, to the same.

        Without gradients, the new maps are written over the old ones.
        """
        query, key, value = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = query * self.scale, key.transpose(2, 3)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            maps = softmax(query @ key)
            if carried is not None:
                maps = torch.add(maps, carried, alpha=self.scale)
            attended = maps @ value
        else:
            maps = value.new_empty(*value.shape[:3], value.shape[2]) if carried is None else carried

            def update(images: slice, first: int, last: int) -> Tensor:
                rows, new = maps[images, :, first:last], softmax(query[images, :, first:last] @ key[images])
                return rows.copy_(new) if carried is None else torch.add(new, rows, alpha=self.scale, out=rows)

            attended = attend_in_pieces(update, value, self.num_heads * value.shape[2], chunk_size(x))
        return self.proj(attended.transpose(1, 2).flatten(2)), maps


def softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1, dtype=at_least_float32(logits)).to(logits.dtype)


class SharedAttention(nn.Module):
    """Attention with the maps of the block before, refined; they are handed on as they came.

    Args:
        channels (int): Channels.
        num_heads (int): Number of heads.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (channels // num_heads)**-0.5
        self.refiner = Refiner(num_heads)
        self.norm = nn.BatchNorm2d(num_heads)
        self.value = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, C)`` and maps ``(B, heads, N, N)`` to the same."""
        value = (self.value(x) * self.scale).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        if self.norm.training:
            attended = self.norm(self.refiner(carried)) @ value
        else:
            attended = self.attend_with_folded_norms(carried, value)
        return self.proj(attended.transpose(1, 2).flatten(2)), carried

    def attend_with_folded_norms(self, carried: Tensor, value: Tensor) -> Tensor:
        weights = self.refiner.folded(carried.dtype, *affine(self.norm))
        num_rows, row_size = carried.shape[2], self.refiner.inner_channels * carried.shape[3]
        limit = chunk_size(carried)

        def refined(images: slice, first: int, last: int) -> Tensor:
            top, bottom = max(first - 1, 0), min(last + 1, num_rows)  # what the convolution sees
            return refine(carried[images, :, top:bottom], *weights)[:, :, first - top:last - top]

        def refined_again(images: slice, first: int, last: int) -> Tensor:
            return recompute(lambda *_: refined(images, first, last), carried, *weights)

        is_cut = len(carried) * num_rows * row_size > limit
        return attend_in_pieces(refined_again if is_cut else refined, value, row_size, limit)


class Block(nn.Module):
    """Attention, then the feed-forward half; pre-norm. Each branch is doubled, and reads half of the stream.

    Args:
        attention (OwnAttention | SharedAttention): One kind or the other.
        channels (int): Channels.
        mlp_ratio (int): Hidden channels of the feed-forward half, relative to ``channels``.
        drop_path (float): Probability of dropping each half.
    """

    def __init__(self, attention: nn.Module, channels: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        eps = 4 * NORM_EPS  # the norm of x / 2 is that of x, but for its epsilon
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = attention
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        self.mlp = Mlp(channels, mlp_ratio * channels)
        self.scale = nn.Parameter(torch.full((channels, ), 1e-5))

    def forward(self, x: Tensor, carried: Tensor | None) -> tuple[Tensor, Tensor]:
        """Tokens ``(B, N, C)`` and the carried maps to the same."""
        attended, carried = self.attn(self.norm1(x), carried)
        x = torch.add(x, self.drop_path(attended), alpha=2)
        return x + self.drop_path(self.mlp(self.norm2(x)) * (2 * self.scale)), carried


@MODELS.register_module()
class RefinerViT(Backbone):
    """Refiner-ViT, a plain network on patches of 16 x 16 pixels with a class token.

    Blocks come in pairs: the first makes attention maps, to which it adds the weighted maps before; the second attends
    with the same maps, refined by convolutions. For dense prediction there are four taps, each of stride 16, behind
    every quarter of the blocks.

    Attention is global and its maps are stored: memory grows with the fourth power of a picture's side. In evaluation
    there is one set of maps ``(B, num_heads, N, N)`` at a time, and a piece of what the refiner needs. The refiner's
    batch norms want ``norm_eval`` or synchronisation where there are few pictures per process.

    Works at any image size from one pixel up: images are padded with zeros, right and bottom.

    Args:
        arch (str | dict): ``'small'``, ``'medium'``, ``'large'``, or a dict with ``embed_dims`` (channels), ``depth``
            (blocks, a multiple of 8), ``num_heads`` and ``mlp_ratio``.
        in_channels (int): Channels of the images. Defaults to 3.
        out_indices (Sequence[int] | int): Taps whose maps are returned, each with a norm of its own; that of the last
            is the classifier's. Defaults to (0, 1, 2, 3).
        out_type (str): ``'featmap'``, maps; or ``'tokens'``, one :class:`TokenFeatures` of the last tap, for
            ``TokenLabelHead``. Defaults to ``'featmap'``.
        mix_tokens (bool): Exchange a box of patches between the pictures of a batch in training; needs ``out_type``
            ``'tokens'``. Defaults to False.
        img_size (int): Side of the pictures that the stored positions are for, in pixels; others are interpolated.
            Defaults to 224.
        drop_path_rate (float): Stochastic depth of the last block, rising linearly from 0. Defaults to 0.1.
        frozen_stages (int): -1 freezes nothing, 0 the embedding of patches, ``n`` also the blocks before the ``n``-th
            tap. Defaults to -1.
        norm_eval (bool): Keep batch norms in evaluation mode while training. Defaults to False.
        with_cp (bool): Recompute blocks in the backward pass. Defaults to False.
        init_cfg (dict | list[dict] | None): MMEngine's. Defaults to None.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import RefinerViT
        >>> maps = RefinerViT('small').eval()(torch.rand(1, 3, 64, 96))
        >>> [tuple(x.shape) for x in maps]
        [(1, 384, 4, 6), (1, 384, 4, 6), (1, 384, 4, 6), (1, 384, 4, 6)]
    """

    arch_zoo = {
        'small': dict(embed_dims=384, depth=16, num_heads=12, mlp_ratio=3),
        'medium': dict(embed_dims=420, depth=32, num_heads=12, mlp_ratio=3),
        'large': dict(embed_dims=512, depth=32, num_heads=16, mlp_ratio=3),
    }

    def __init__(self, arch: str | dict = 'small', *, out_type: str = 'featmap', mix_tokens: bool = False,
                 img_size: int = 224, drop_path_rate: float = 0.1, **kwargs) -> None:
        arch = self.resolve_arch(arch)
        channels, depth, num_heads = arch['embed_dims'], arch['depth'], arch['num_heads']
        if channels % num_heads:
            raise ValueError(f'arch: {channels} embed_dims cannot be split into {num_heads} num_heads')
        if depth < 2 * NUM_TAPS or depth % (2 * NUM_TAPS):
            raise ValueError(f'arch: depth must be a multiple of {2 * NUM_TAPS}, got {depth}')
        if img_size < PATCH_SIZE:
            raise ValueError(f'img_size must be at least {PATCH_SIZE}, got {img_size}')
        super().__init__(channels=[channels] * NUM_TAPS, strides=[PATCH_SIZE] * NUM_TAPS, **kwargs)
        if out_type not in OUT_TYPES:
            raise ValueError(f'out_type must be one of {OUT_TYPES}, got {out_type!r}')
        if out_type == 'tokens' and self.out_indices != (NUM_TAPS - 1, ):
            raise ValueError(f"out_type='tokens' needs out_indices={NUM_TAPS - 1}, got {self.out_indices}")
        if mix_tokens and out_type != 'tokens':
            raise ValueError(f"mix_tokens needs out_type='tokens', got {out_type!r}")
        self.out_type = out_type
        self.mix_tokens = mix_tokens

        self.embed = TokenEmbed(self.in_channels, channels, img_size // PATCH_SIZE)
        drop_paths, = drop_path_schedule(drop_path_rate, [depth])
        self.blocks = nn.ModuleList(
            Block((SharedAttention if i % 2 else OwnAttention)(channels, num_heads), channels, arch['mlp_ratio'], rate)
            for i, rate in enumerate(drop_paths))
        self.add_output_norms(NORM_EPS)
        self.apply(init_linear)
        for table in (self.embed.class_token, self.embed.positions.pos_embed):
            trunc_normal_(table)
        self.freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...] | tuple[TokenFeatures]:
        if self.out_type == 'featmap':
            return super().forward(images)
        self.check_images(images)
        height, width = self.grid_of(images)
        box = sample_box(height, width) if self.training and self.mix_tokens else NO_BOX
        return self.read_tokens(images, box),

    def read_tokens(self, images: Tensor, box: Box = NO_BOX) -> TokenFeatures:
        """What a classifier reads, with the patches in ``box`` exchanged between pictures."""
        maps = [] if self.training and torch.is_grad_enabled() else None
        *_, tokens = self.iter_tokens(images, box, maps)
        return TokenFeatures(self.output_norm(NUM_TAPS - 1)(tokens), self.grid_of(images), box, tuple(maps or ()))

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        for tokens in self.iter_tokens(images):
            yield tokens[:, 1:].unflatten(1, self.grid_of(images))

    def iter_tokens(self, images: Tensor, box: Box = NO_BOX, maps: list[Tensor] | None = None) -> Iterator[Tensor]:
        """Yields all tokens ``(B, 1 + h * w, C)`` at every tap, and appends the carried maps of every block."""
        tokens, carried = self.run_block(self.embed, images, box), None
        for i, block in enumerate(self.blocks, start=1):
            tokens, carried = self.run_block(block, tokens, carried)
            if maps is not None:
                maps.append(carried)
            if i == len(self.blocks):
                carried = None  # nobody reads it any more
            if i % self.blocks_per_stage == 0:
                yield tokens

    @staticmethod
    def grid_of(images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches, the last of which may stick out."""
        return -(-images.shape[2] // PATCH_SIZE), -(-images.shape[3] // PATCH_SIZE)

    @property
    def blocks_per_stage(self) -> int:
        return len(self.blocks) // NUM_TAPS

    def stem_modules(self) -> list[nn.Module]:
        return [self.embed]

    def stage_modules(self, stage: int) -> list[nn.Module]:
        return list(self.blocks[stage * self.blocks_per_stage:(stage + 1) * self.blocks_per_stage])

    @property
    def num_layers(self) -> int:
        return len(self.blocks)

    def layer_of(self, name: str) -> int | None:
        kind, index = name.split('.')[:2]
        if kind == 'blocks':
            return int(index) + 1
        return 0 if kind == 'embed' else None
