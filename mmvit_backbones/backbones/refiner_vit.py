"""Refiner-ViT: a vision transformer in which every second block reuses the attention map of the block before it.

Refiner: Refining Self-attention for Vision Transformers (Zhou et al., 2021, arXiv 2106.03714).
"""
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers import BaseBlock, PositionEmbedding, drop_path_schedule, init_linear, trunc_normal_
from ..layers.mix_tokens import NO_BBOX, BBox, TokenFeatures, mix_tokens, sample_bbox
from ..ops.sizes import ceil_div
from ..ops.window import channels_last, pad_images
from .base import Backbone

PATCH_SIZE = 16
EXPANSION = 3  # channels inside the refiner per attention head
NUM_STAGES = 4
NORM_EPS = 1e-6


class PatchEmbed(nn.Module):
    """Embeds patches of 16 x 16 pixels by a 7 x 7 and two 3 x 3 convolutions and an 8 x 8 projection."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 32, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(128)
        self.proj = nn.Conv2d(128, channels, 8, stride=8)

    def forward(self, images: Tensor) -> Tensor:
        """Maps ``(B, in_channels, H, W)`` to ``(B, C, H / 16, W / 16)``; ``H`` and ``W`` must be multiples of 16."""
        # In training on CPUs, PyTorch's batch norm is less accurate on channels-last maps.
        x = images if self.training and images.device.type == 'cpu' else channels_last(images)
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = F.relu(self.norm2(self.conv2(x)), inplace=True)
        x = F.relu(self.norm3(self.conv3(x)), inplace=True)
        return self.proj(x)


class TokenEmbed(nn.Module):
    """Embeds images as a class token and patch tokens with learned positions."""

    def __init__(self, in_channels: int, channels: int, img_size: int) -> None:
        super().__init__()
        self.patches = PatchEmbed(in_channels, channels)
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
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions(height, width)


class Refiner(nn.Module):
    """Refines attention maps: expands the heads, convolves, projects back to ``num_heads``, and adds the input.

    The attention maps of a sample are treated as an image with one channel per head. Its rows are the queries and its
    columns are the keys, including the class token.

    Paper: arXiv 2106.03714, attention expansion.
    Paper: arXiv 2106.03714, distributed local attention.
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

    def forward(self, attn: Tensor) -> Tensor:
        """Keeps the shape ``(B, num_heads, N, N)``."""
        x = F.relu6(self.norm1(self.expand(attn)))
        x = F.relu6(self.norm2(self.depthwise(x)))
        return self.norm3(self.project(x)) + attn


class Attention(nn.Module):
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
            attn = torch.add(attn, prev_attn, alpha=self.scale)
        x = (attn @ v).transpose(1, 2).flatten(2)
        return self.proj(x), attn


class SharedAttention(nn.Module):
    """Attention with the refined attention map of the previous block.

    The next block receives the map before refinement.

    Paper: arXiv 2106.03714, refiner.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (channels // num_heads)**-0.5
        self.refiner = Refiner(num_heads)
        self.norm = nn.BatchNorm2d(num_heads)
        self.value = nn.Linear(channels, channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, prev_attn: Tensor) -> tuple[Tensor, Tensor]:
        """Maps tokens ``(B, N, C)`` and the previous map ``(B, num_heads, N, N)`` to new tokens and the same map."""
        v = (self.value(x) * self.scale).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        x = self.norm(self.refiner(prev_attn)) @ v
        return self.proj(x.transpose(1, 2).flatten(2)), prev_attn


class Block(BaseBlock):
    """Pre-norm block of attention and an MLP; each branch ``f`` is applied as ``x + 2 f(x / 2)``.

    ``attention`` is an :class:`Attention` or a :class:`SharedAttention`.
    """

    def __init__(self, channels: int, attention: nn.Module, mlp_ratio: float, drop_path: float) -> None:
        # LayerNorm of x / 2 equals LayerNorm of x with four times the epsilon.
        super().__init__(channels, attention, mlp_ratio, drop_path, eps=4 * NORM_EPS)
        self.scale = nn.Parameter(torch.empty(channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, 1e-5)

    def forward(self, x: Tensor, prev_attn: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps tokens ``(B, N, C)`` and the previous map to new tokens and the attention map for the next block."""
        out, attn = self.attn(self.norm1(x), prev_attn)
        x = self.drop_path(x, out, weight=2)
        return self.drop_path(x, self.mlp(self.norm2(x)) * self.scale, weight=2), attn


@MODELS.register_module()
class RefinerViT(Backbone):
    """Refiner-ViT, a plain vision transformer with patches of 16 x 16 pixels and a class token.

    Blocks come in pairs. The first block of a pair computes attention maps, and adds the scaled maps of the previous
    pair. The second block attends with the same maps, refined by convolutions. The four outputs have stride 16; one
    is taken after each quarter of the blocks.

    Attention is global and stores whole attention maps, so memory grows with the fourth power of the image side. For
    training with few images per process, set ``norm_eval`` or synchronize the batch norms. Images are zero-padded at
    the right and bottom to whole patches.

    Paper: arXiv 2106.03714, variants.

    Args:
        arch (str | dict): ``'small'``, ``'medium'``, ``'large'``, or a dict with ``embed_dims`` (channels), ``depth``
            (number of blocks, a multiple of 8), ``num_heads`` and ``mlp_ratio``.
        out_type (str): ``'featmap'`` returns maps. ``'tokens'`` returns one :class:`TokenFeatures` of the last stage
            for ``TokenLabelHead``, and requires ``out_indices=3``.
        mix_tokens (bool): Whether to swap a random box of patches between images of a batch in training. Requires
            ``out_type='tokens'``.
        img_size (int): Side in pixels of the square images for which positions are stored. For other image sizes, the
            positions are interpolated.
        kwargs: Common arguments of :class:`Backbone`. Each of the four outputs has a LayerNorm; classifiers use the
            last output.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import RefinerViT
        >>> [tuple(x.shape) for x in RefinerViT('small')(torch.rand(1, 3, 64, 96))]
        [(1, 384, 4, 6), (1, 384, 4, 6), (1, 384, 4, 6), (1, 384, 4, 6)]
    """

    arch_zoo = {
        'small': dict(embed_dims=384, depth=16, num_heads=12, mlp_ratio=3),
        'medium': dict(embed_dims=420, depth=32, num_heads=12, mlp_ratio=3),
        'large': dict(embed_dims=512, depth=32, num_heads=16, mlp_ratio=3),
    }
    stem = ('embed', )

    def __init__(self, arch: str | dict = 'small', *, out_type: Literal['featmap', 'tokens'] = 'featmap',
                 mix_tokens: bool = False, img_size: int = 224, drop_path_rate: float = 0.1, **kwargs) -> None:
        arch = self.resolve_arch(arch)
        channels, depth, num_heads = arch['embed_dims'], arch['depth'], arch['num_heads']
        if depth < 1 or depth % (2 * NUM_STAGES):
            raise ValueError(f'arch: depth must be a multiple of {2 * NUM_STAGES}, got {depth}')
        super().__init__(channels=[channels] * NUM_STAGES, strides=[PATCH_SIZE] * NUM_STAGES, **kwargs)
        if out_type not in ('featmap', 'tokens'):
            raise ValueError(f"out_type must be 'featmap' or 'tokens', got {out_type!r}")
        if out_type == 'tokens' and self.out_indices != (NUM_STAGES - 1, ):
            raise ValueError(f"out_type='tokens' requires out_indices={NUM_STAGES - 1}, got {self.out_indices}")
        if mix_tokens and out_type != 'tokens':
            raise ValueError(f"mix_tokens=True requires out_type='tokens', got {out_type!r}")
        self.out_type = out_type
        self.mix_tokens = mix_tokens
        self.blocks_per_stage = depth // NUM_STAGES

        self.embed = TokenEmbed(self.in_channels, channels, img_size)
        drop_paths, = drop_path_schedule(drop_path_rate, [depth])
        self.blocks = nn.ModuleList()
        for i, drop_path in enumerate(drop_paths):
            attention = SharedAttention if i % 2 else Attention
            self.blocks.append(Block(channels, attention(channels, num_heads), arch['mlp_ratio'], drop_path))
        self.add_output_norms(NORM_EPS)
        self.init_layers()
        self.freeze()

    def init_layers(self) -> None:
        self.apply(init_linear)
        trunc_normal_(self.embed.positions.pos_embed)

    def outputs(self, images: Tensor) -> tuple:
        if self.out_type == 'featmap':
            return super().outputs(images)
        return self.read_tokens(images, self.draw_bbox(images)),

    def outputs_and_raw_maps(self, images: Tensor) -> tuple[tuple, tuple[Tensor, ...]]:
        if self.out_type == 'featmap':
            return super().outputs_and_raw_maps(images)
        stage_maps = []
        features = self.read_tokens(images, self.draw_bbox(images), stage_maps)
        return (features, ), tuple(x.permute(0, 3, 1, 2) for x in stage_maps)

    def draw_bbox(self, images: Tensor) -> BBox:
        return sample_bbox(*self.grid_of(images)) if self.training and self.mix_tokens else NO_BBOX

    def read_tokens(self, images: Tensor, bbox: BBox = NO_BBOX,
                    stage_maps: list[Tensor] | None = None) -> TokenFeatures:
        """Returns the tokens for a classifier, with the patches in ``bbox`` mixed between images.

        If ``stage_maps`` is given, the raw map of each stage is appended to this list.
        """
        attention_maps = []
        keeps_maps = self.training and torch.is_grad_enabled()
        tokens = self.run_block(self.embed, images, bbox)
        attn = None
        for i, block in enumerate(self.blocks, start=1):
            tokens, attn = self.run_block(block, tokens, attn)
            if keeps_maps:
                attention_maps.append(attn)
            if stage_maps is not None and i % self.blocks_per_stage == 0:
                stage_maps.append(self.map_of(tokens, images))
        tokens = self.output_norm(NUM_STAGES - 1)(tokens)
        return TokenFeatures(tokens, self.grid_of(images), bbox, tuple(attention_maps))

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        tokens = self.run_block(self.embed, images, NO_BBOX)
        attn = None
        for i, block in enumerate(self.blocks, start=1):
            tokens, attn = self.run_block(block, tokens, attn)
            if i % self.blocks_per_stage == 0:
                yield self.map_of(tokens, images)

    def map_of(self, tokens: Tensor, images: Tensor) -> Tensor:
        """Returns the patch tokens as a map ``(B, h, w, C)``."""
        return tokens[:, 1:].unflatten(1, self.grid_of(images))

    @staticmethod
    def grid_of(images: Tensor) -> tuple[int, int]:
        """Returns the rows and columns of patches that cover the images."""
        return ceil_div(images.shape[2], PATCH_SIZE), ceil_div(images.shape[3], PATCH_SIZE)

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        start = stage * self.blocks_per_stage
        return [[block] for block in self.blocks[start:start + self.blocks_per_stage]]
