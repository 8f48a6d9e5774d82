"""Refiner-ViT: a vision transformer in which every second block reuses the attention map of the block before it.

Refiner: Refining Self-attention for Vision Transformers (Zhou et al., 2021, arXiv 2106.03714).
"""
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import BaseBlock, Mlp, PositionEmbedding, drop_path_schedule, init_linear, trunc_normal_
from ..layers.mix_tokens import NO_BBOX, BBox, TokenFeatures, mix_tokens, sample_bbox
from ..ops.exportable import add_weighted
from ..ops.sizes import ceil_div
from ..ops.window import channels_last, pad_images
from .arch import PlainArch, resolve_arch
from .base import Backbone, CommonArguments

PATCH_SIZE = 16
NUM_STAGES = 4
NORM_EPS = 1e-6


class RefinerPatchEmbed(nn.Module):
    """Embeds patches of 16 x 16 pixels by a 7 x 7 and two 3 x 3 convolutions and an 8 x 8 projection."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.BatchNorm2d(32)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(64)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(128)
        self.relu3 = nn.ReLU()
        self.proj = nn.Conv2d(128, channels, 8, stride=8)

    def forward(self, images: Tensor) -> Tensor:
        """Maps ``(B, in_channels, H, W)`` to ``(B, C, H / 16, W / 16)``; ``H`` and ``W`` must be multiples of 16."""
        # In training on CPUs, PyTorch's batch norm is less accurate on channels-last maps.
        x = images if self.training and images.device.type == 'cpu' else channels_last(images)
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.relu2(self.norm2(self.conv2(x)))
        x = self.relu3(self.norm3(self.conv3(x)))
        return self.proj(x)


class RefinerTokenEmbed(nn.Module):
    """Embeds images as a class token and patch tokens with learned positions."""

    def __init__(self, in_channels: int, channels: int, img_size: int) -> None:
        super().__init__()
        self.patches = RefinerPatchEmbed(in_channels, channels)
        self.class_token = nn.Parameter(torch.empty(1, 1, channels))
        self.positions = PositionEmbedding(channels, PATCH_SIZE, img_size, interpolation='bilinear')
        self.reset_parameters()

    def reset_parameters(self) -> None:
        trunc_normal_(self.class_token)

    def forward(self, images: Tensor, bbox: BBox) -> Tensor:
        """Maps ``(B, in_channels, H, W)`` to ``(B, 1 + h * w, C)``; patches in ``bbox`` are mixed between images."""
        x = self.patches(pad_images(images, PATCH_SIZE))
        height, width = x.shape[2:]
        x = mix_tokens(x.permute(0, 2, 3, 1), bbox).flatten(1, 2)
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.positions(tokens, height, width)


class Refiner(nn.Module):
    """Refines attention maps: expands the heads, convolves, projects back to ``num_heads``, and adds the input.

    The attention maps of a sample are treated as an image with one channel per head. Its rows are the queries and its
    columns are the keys, including the class token.

    Paper: arXiv 2106.03714, attention expansion.
    Paper: arXiv 2106.03714, distributed local attention.

    Args:
        expansion (int): Channels inside the refiner per attention head.
        local_attention (bool): Whether to convolve the expanded maps (distributed local attention).
    """

    def __init__(self, num_heads: int, expansion: int = 3, local_attention: bool = True) -> None:
        super().__init__()
        inner = expansion * num_heads
        self.expand = nn.Conv2d(num_heads, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.relu1 = nn.ReLU6()
        self.local_attention = local_attention
        if local_attention:
            self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
            self.norm2 = nn.BatchNorm2d(inner)
            self.relu2 = nn.ReLU6()
        self.project = nn.Conv2d(inner, num_heads, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(num_heads)

    def forward(self, attn: Tensor) -> Tensor:
        """Keeps the shape ``(B, num_heads, N, N)``."""
        x = self.relu1(self.norm1(self.expand(attn)))
        if self.local_attention:
            x = self.relu2(self.norm2(self.depthwise(x)))
        return self.norm3(self.project(x)) + attn


class RefinerAttention(nn.Module):
    """Attention with the map ``softmax(q k^T / sqrt(d)) + prev_attn / sqrt(d)``.

    The first block has no ``prev_attn``.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (channels // num_heads)**-0.5
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, prev_attn: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps tokens ``(B, N, C)`` and the previous map ``(B, num_heads, N, N)`` to new tokens and a new map."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).contiguous().unbind(0)
        attn = (q * self.scale @ k.transpose(-2, -1)).softmax(-1)
        if prev_attn is not None:
            attn = add_weighted(attn, prev_attn, self.scale)
        x = (attn @ v).transpose(1, 2).flatten(2)
        return self.proj(x), attn


class SharedAttention(nn.Module):
    """Attention with the refined attention map of the previous block.

    The next block receives the map before refinement. ``expansion`` and ``local_attention`` are arguments of
    :class:`Refiner`.

    Paper: arXiv 2106.03714, refiner.
    """

    def __init__(self, channels: int, num_heads: int, expansion: int = 3, local_attention: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (channels // num_heads)**-0.5
        self.refiner = Refiner(num_heads, expansion, local_attention)
        self.norm = nn.BatchNorm2d(num_heads)
        self.value = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, prev_attn: Tensor) -> tuple[Tensor, Tensor]:
        """Maps tokens ``(B, N, C)`` and the previous map ``(B, num_heads, N, N)`` to new tokens and the same map."""
        v = (self.value(x) * self.scale).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        x = self.norm(self.refiner(prev_attn)) @ v
        return self.proj(x.transpose(1, 2).flatten(2)), prev_attn


class RefinerBlock(BaseBlock):
    """Pre-norm block of attention and an MLP; each branch ``f`` is applied as ``x + 2 f(x / 2)``.

    ``attention`` is an :class:`RefinerAttention` or a :class:`SharedAttention`.
    """

    def __init__(self, channels: int, attention: nn.Module, mlp_ratio: float, drop_path: float) -> None:
        # LayerNorm of x / 2 equals LayerNorm of x with four times the epsilon.
        super().__init__(channels, attention, Mlp(channels, int(mlp_ratio * channels)), drop_path, eps=4 * NORM_EPS)
        self.scale = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, 1e-5)

    def forward(self, x: Tensor, prev_attn: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps tokens ``(B, N, C)`` and the previous map to new tokens and the attention map for the next block."""
        out, attn = self.attn(self.norm1(x), prev_attn)
        x = self.drop_path(x, out, weight=2)
        return self.drop_path(x, self.mlp(self.norm2(x)) * self.scale, weight=2), attn


def map_of(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Returns the patch tokens of ``(B, 1 + h * w, C)`` as a map ``(B, h, w, C)``."""
    return tokens[:, 1:].unflatten(1, grid)


@dataclass(frozen=True, kw_only=True)
class RefinerViTArch(PlainArch):
    """Settings of :class:`RefinerViT`, with the fields of :class:`PlainArch`; ``depth`` is a multiple of 8."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth % (2 * NUM_STAGES):
            raise ValueError(f'arch: depth must be a multiple of {2 * NUM_STAGES}, got {self.depth}')


@MODELS.register_module()
class RefinerViT(Backbone):
    """Refiner-ViT, a plain vision transformer with patches of 16 x 16 pixels and a class token.

    Blocks come in pairs. The first block of a pair computes attention maps, and adds the scaled maps of the previous
    pair. The second block attends with the same maps, refined by convolutions. The four outputs have stride 16 and a
    LayerNorm each; one is taken after each quarter of the blocks. Classifiers use the last.

    Attention is global and stores whole attention maps, so memory grows with the fourth power of the image side. For
    training with few images per process, set ``norm_eval`` or synchronize the batch norms. Images are zero-padded at
    the right and bottom to whole patches.

    Departures from the authors' code:

    - Positions are interpolated for other image sizes; the authors' code takes one size.
    - In the recipes, Mixup and CutMix mix an image with a random other one of the batch; the authors reverse the batch.
    - ``PoolTokenLabels`` exchanges rows and columns of the crop's box with ``transposed_boxes`` alone.

    Paper: arXiv 2106.03714, variants.

    Args:
        arch (str | RefinerViTArch | dict): ``'small'``, ``'medium'``, ``'large'``, a :class:`RefinerViTArch`, or a
            dict of its fields.
        out_type (str): ``'featmap'`` returns maps. ``'tokens'`` returns one :class:`TokenFeatures` of the last stage
            for ``TokenLabelHead``, and requires ``out_indices=3``.
        mix_tokens (bool): Whether to swap a random box of patches between images of a batch in training. Requires
            ``out_type='tokens'``.
        img_size (int): Side in pixels of the square images for which positions are stored. For other image sizes, the
            positions are interpolated.
        expansion (int): Channels inside the refiner per attention head. 1 gives the ablation without expansion.
        local_attention (bool): Whether the refiner convolves the expanded attention maps. False gives the ablation
            without distributed local attention.
        in_channels, out_indices, frozen_stages, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        drop_path_rate (float): Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import RefinerViT
        >>> [tuple(x.shape) for x in RefinerViT('small')(torch.rand(1, 3, 64, 96))]
        [(1, 384, 4, 6), (1, 384, 4, 6), (1, 384, 4, 6), (1, 384, 4, 6)]
    """

    no_decay = ('class_token', 'pos_embed', '.scale')
    arch_zoo: dict[str, RefinerViTArch] = {
        'small': RefinerViTArch(embed_dims=384, depth=16, num_heads=12, mlp_ratio=3),
        'medium': RefinerViTArch(embed_dims=420, depth=32, num_heads=12, mlp_ratio=3),
        'large': RefinerViTArch(embed_dims=512, depth=32, num_heads=16, mlp_ratio=3),
    }
    stem_names = ('embed', )
    image_convs = ('embed.patches.conv1', )

    def __init__(self, arch: str | RefinerViTArch | dict = 'small', *,
                 out_type: Literal['featmap', 'tokens'] = 'featmap', mix_tokens: bool = False, img_size: int = 224,
                 expansion: int = 3, local_attention: bool = True, drop_path_rate: float = 0.1,
                 **common: Unpack[CommonArguments]) -> None:
        arch = resolve_arch(arch, self.arch_zoo)
        super().__init__(channels=[arch.embed_dims] * NUM_STAGES, strides=[PATCH_SIZE] * NUM_STAGES, **common)
        if out_type not in ('featmap', 'tokens'):
            raise ValueError(f"out_type must be 'featmap' or 'tokens', got {out_type!r}")
        if out_type == 'tokens' and self.out_indices != (NUM_STAGES - 1, ):
            raise ValueError(f"out_type='tokens' requires out_indices={NUM_STAGES - 1}, got {self.out_indices}")
        if mix_tokens and out_type != 'tokens':
            raise ValueError(f"mix_tokens=True requires out_type='tokens', got {out_type!r}")
        if expansion < 1:
            raise ValueError(f'expansion must be at least 1, got {expansion}')
        self.out_type = out_type
        self.mix_tokens = mix_tokens
        self.blocks_per_stage = arch.depth // NUM_STAGES

        self.embed = RefinerTokenEmbed(self.in_channels, arch.embed_dims, img_size)
        drop_paths, = drop_path_schedule(drop_path_rate, [arch.depth])
        self.blocks = nn.ModuleList()
        for i, drop_path in enumerate(drop_paths):
            if i % 2:
                attention = SharedAttention(arch.embed_dims, arch.num_heads, expansion, local_attention)
            else:
                attention = RefinerAttention(arch.embed_dims, arch.num_heads)
            self.blocks.append(RefinerBlock(arch.embed_dims, attention, arch.mlp_ratio, drop_path))
        self.add_output_norms(NORM_EPS)
        self.init_layers()
        self.freeze()

    def init_layers(self) -> None:
        self.apply(init_linear)
        trunc_normal_(self.embed.positions.pos_embed)

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor | TokenFeatures]]:
        """Yields the map of each stage before the output norm, and the normalized map or, at last, the tokens."""
        grid = self.grid_of(images)
        bbox = self.draw_bbox(grid)
        keeps_maps = self.out_type == 'tokens' and self.training and torch.is_grad_enabled()
        tokens = self.run_block(self.embed, images, bbox)
        attn, attention_maps = None, []
        for number, block in enumerate(self.blocks, start=1):
            tokens, attn = self.run_block(block, tokens, attn)
            if keeps_maps:
                attention_maps.append(attn)
            if number % self.blocks_per_stage == 0:
                stage = number // self.blocks_per_stage - 1
                normed = self.output_norm(stage)(tokens)
                if self.out_type == 'tokens':
                    yield map_of(tokens, grid), TokenFeatures(normed, grid, bbox, tuple(attention_maps))
                else:
                    yield map_of(tokens, grid), map_of(normed, grid)

    def draw_bbox(self, grid: tuple[int, int]) -> BBox:
        """Returns the box of patches to swap between images; empty except in training with ``mix_tokens``."""
        return sample_bbox(*grid) if self.mix_tokens and self.training else NO_BBOX

    @staticmethod
    def grid_of(images: Tensor) -> tuple[int, int]:
        """Returns the rows and columns of patches that cover the images."""
        return ceil_div(images.shape[2], PATCH_SIZE), ceil_div(images.shape[3], PATCH_SIZE)

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        start = stage * self.blocks_per_stage
        return [[block] for block in self.blocks[start:start + self.blocks_per_stage]]
