"""ResT: four stages of global attention, with keys and values from a downsampled map.

ResT: An Efficient Transformer for Visual Recognition (Zhang and Yang, NeurIPS 2021, arXiv 2105.13677).
"""
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import Block, Mlp, drop_path_schedule, trunc_normal_
from ..ops.normalized_attention import normalized_attention
from ..ops.window import channels_last
from .arch import AttentionPyramidArch, resolve_arch
from .base import Backbone, CommonArguments

OUT_NORMS = (None, 'side', 'in_stream')


class PixelAttention(nn.Module):
    """Position encoding that multiplies each pixel by weights from a depth-wise 3 x 3 convolution.

    Paper: arXiv 2105.13677, equation 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, C, H, W)``."""
        return x * torch.sigmoid(self.conv(x))


class ResTStem(nn.Module):
    """Embeds images as tokens by three convolutions, the first and the last with stride 2, and pixel attention.

    Paper: arXiv 2105.13677, patch embedding.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(in_channels, half, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(half)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(half)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(half, channels, 3, stride=2, padding=1, bias=False)
        self.pos = PixelAttention(channels)

    def forward(self, images: Tensor) -> Tensor:
        """Maps ``(B, in_channels, H, W)`` to ``(B, H / 4, W / 4, C)``, rounded up."""
        x = channels_last(images)  # all later maps keep this layout
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.relu2(self.norm2(self.conv2(x)))
        return self.pos(self.conv3(x)).permute(0, 2, 3, 1)


class ResTDownsample(nn.Module):
    """Halves the sides of a map between two stages by a convolution, batch norm and pixel attention.

    Paper: arXiv 2105.13677, patch embedding.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.pos = PixelAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(B, in_channels, H, W)`` to ``(B, H / 2, W / 2, C)``, rounded up."""
        return self.pos(self.norm(self.conv(x))).permute(0, 2, 3, 1)


class ReducedAttention(nn.Module):
    """Base class of attention in ResT and ResTv2, with keys and values from a downsampled map.

    ``reduction`` is the stride of the downsampling convolution, 1 (no convolution) or an even number. ``eps`` is the
    epsilon of the LayerNorm after this convolution.

    Paper: arXiv 2105.13677, EMSA.
    """

    def __init__(self, channels: int, num_heads: int, reduction: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.reduction = reduction
        self.q = nn.Linear(channels, channels)
        if reduction > 1:
            self.sr = nn.Conv2d(
                channels, channels, reduction + 1, stride=reduction, padding=reduction // 2, groups=channels)
            self.sr_norm = nn.LayerNorm(channels, eps=eps)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``(B, H, W, C)`` to keys and values ``(B, ceil(H / r), ceil(W / r), C)``, with ``r = reduction``."""
        if self.reduction > 1:
            x = self.sr_norm(self.sr(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return self.kv(x).unflatten(-1, (2, -1)).unbind(-2)

    def by_head(self, x: Tensor) -> Tensor:
        """Returns a view ``(B, num_heads, H * W, d)`` of ``(B, H, W, C)``."""
        return x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class EMSA(ReducedAttention):
    """Efficient multi-head self-attention, version 1.

    With several heads, a 1 x 1 convolution mixes the logits of the heads, and instance norm follows the softmax:
    ``IN(softmax(conv(q k^T / sqrt(d)))) v``. With a single head, or without ``head_interaction``, it is standard
    attention.

    Paper: arXiv 2105.13677, equation 4.
    """

    def __init__(self, channels: int, num_heads: int, reduction: int, eps: float,
                 head_interaction: bool = True) -> None:
        super().__init__(channels, num_heads, reduction, eps)
        self.scale = (channels // num_heads)**-0.5
        self.head_interaction = head_interaction and num_heads > 1
        if self.head_interaction:
            self.mix_heads = nn.Conv2d(num_heads, num_heads, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, H, W, C)`` of a normalized map."""
        q, k, v = map(self.by_head, (self.q(x), *self.keys_and_values(x)))
        if not self.head_interaction:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            logits = self.mix_heads(q @ (self.scale * k).transpose(-2, -1))
            out = normalized_attention(logits, v)
        return self.proj(out.transpose(1, 2).reshape(x.shape))


@dataclass(frozen=True, kw_only=True)
class ResTArch(AttentionPyramidArch):
    """Settings of :class:`ResT` and :class:`ResTv2`.

    Attributes:
        embed_dims (int): Channels of the first stage, an even number; doubled from stage to stage.
        depths (tuple[int, ...]): Number of blocks of each stage.
        num_heads (tuple[int, ...]): Number of attention heads of each stage.
        reductions (tuple[int, ...]): Stride of the convolution before keys and values of each stage: 1 (no convolution)
            or an even number.
        mlp_ratio (float): Hidden channels of the MLPs, relative to the channels of the stage.
    """
    reductions: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embed_dims % 2:
            raise ValueError(f'arch: embed_dims must be even, got {self.embed_dims}')
        if any(reduction != 1 and reduction % 2 for reduction in self.reductions):
            raise ValueError(f'arch: reductions must be 1 or even, got {self.reductions}')


class ResTBase(Backbone):
    """Base class of ResT and ResTv2, which differ in the classes of their modules."""
    arch_zoo: dict[str, ResTArch] = {}
    stem_names = ('patch_embeds.0', )
    image_convs = ('patch_embeds.0.conv1', )
    stem_type: type[nn.Module]
    downsample_type: type[nn.Module]
    norm_eps: float
    zero_biases: tuple[type[nn.Linear | nn.Conv2d], ...]  # types of layers whose biases are initialized with 0

    def __init__(self, arch: ResTArch, out_norm: Literal['side', 'in_stream'] | None, drop_path_rate: float,
                 **common: Unpack[CommonArguments]) -> None:
        super().__init__(channels=arch.channels, strides=arch.strides, **common)
        if out_norm not in OUT_NORMS:
            raise ValueError(f'out_norm must be one of {OUT_NORMS}, got {out_norm!r}')
        self.patch_embeds = nn.ModuleList([self.stem_type(self.in_channels, self.channels[0])])
        self.patch_embeds.extend(self.downsample_type(before, after) for before, after in pairwise(self.channels))
        self.stages: Any = nn.ModuleList(
            nn.ModuleList(self.make_block(arch, stage, drop_path) for drop_path in drop_paths)
            for stage, drop_paths in enumerate(drop_path_schedule(drop_path_rate, arch.depths)))
        self.out_norm = out_norm
        self.add_output_norms(self.norm_eps, stages=self.out_indices if out_norm else ())
        self.init_layers()
        self.freeze()

    def make_block(self, arch: ResTArch, stage: int, drop_path: float) -> Block:
        attn = self.make_attention(self.channels[stage], arch.num_heads[stage], arch.reductions[stage])
        mlp = Mlp(self.channels[stage], int(arch.mlp_ratio * self.channels[stage]))
        return Block(self.channels[stage], attn, mlp, drop_path, self.norm_eps)

    def make_attention(self, channels: int, num_heads: int, reduction: int) -> nn.Module:
        """Builds attention that keeps the shape ``(B, H, W, channels)``."""
        raise NotImplementedError

    def init_layers(self) -> None:
        self.apply(self.init_module)

    def init_module(self, module: nn.Module) -> None:
        """Draws weights from a truncated normal (std 0.02), and sets biases of the types in ``zero_biases`` to 0."""
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            trunc_normal_(module.weight)
        if isinstance(module, self.zero_biases) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        x = images
        for i, (patch_embed, blocks) in enumerate(zip(self.patch_embeds, self.stages)):
            x = patch_embed(x)
            for block in blocks:
                x = self.run_block(block, x)
            out = self.output_norm(i)(x)
            yield x, out
            x = (out if self.out_norm == 'in_stream' else x).permute(0, 3, 1, 2)

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns one layer per block; the patch embedding of a later stage belongs to its first layer."""
        layers: list[list[nn.Module]] = [[block] for block in self.stages[stage]]
        if stage > 0:
            layers[0].insert(0, self.patch_embeds[stage])
        return layers


@MODELS.register_module()
class ResT(ResTBase):
    """ResT, a pyramid vision transformer with efficient multi-head self-attention.

    The result of the instance norm depends on the number of keys, so the scale of the features changes with the image
    size, as in the authors' code. The features have strides 4, 8, 16 and 32.

    Departures from the authors' code:

    - Maps have the sizes that the convolutions give. The authors' code rounds down: it needs multiples of 32 pixels, or
      returns maps with wrong channels for some small images.
    - For images of up to 32 x 32 pixels, where instance norm has one value per map, the last attention adds its bias.

    Paper: arXiv 2105.13677, variants.

    Args:
        arch (str | ResTArch | dict): ``'lite'``, ``'small'``, ``'base'``, ``'large'``, a :class:`ResTArch`, or a dict
            of its fields.
        out_norm (str | None): Where the LayerNorms of the returned stages are applied. With ``'in_stream'``, the
            normalized map is returned and also passed to the next stage, so ``out_indices`` changes the results.
            Published v1 detectors require ``'in_stream'``. With ``'side'``, the next stage receives the pre-norm map,
            as in v2. With None, there are no output norms. For ``out_indices=3``, as in classifiers, ``'in_stream'``
            and ``'side'`` are equivalent.
        head_interaction (bool): Whether a convolution mixes the logits of the heads, followed by instance norm. False
            gives the ablation with standard attention.
        in_channels, out_indices, frozen_stages, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        drop_path_rate (float): Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ResT
        >>> [tuple(x.shape) for x in ResT('lite')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    arch_zoo: dict[str, ResTArch] = {
        'lite': ResTArch(
            embed_dims=64, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), reductions=(8, 4, 2, 1), mlp_ratio=4),
        'small': ResTArch(
            embed_dims=64, depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), reductions=(8, 4, 2, 1), mlp_ratio=4),
        'base': ResTArch(
            embed_dims=96, depths=(2, 2, 6, 2), num_heads=(1, 2, 4, 8), reductions=(8, 4, 2, 1), mlp_ratio=4),
        'large': ResTArch(
            embed_dims=96, depths=(2, 2, 18, 2), num_heads=(1, 2, 4, 8), reductions=(8, 4, 2, 1), mlp_ratio=4),
    }
    stem_type, downsample_type = ResTStem, ResTDownsample
    norm_eps, zero_biases = 1e-5, (nn.Linear, )

    def __init__(self, arch: str | ResTArch | dict = 'lite', *,
                 out_norm: Literal['side', 'in_stream'] | None = 'in_stream', head_interaction: bool = True,
                 drop_path_rate: float = 0.1, **common: Unpack[CommonArguments]) -> None:
        self.head_interaction = head_interaction
        super().__init__(resolve_arch(arch, self.arch_zoo), out_norm, drop_path_rate, **common)

    def make_attention(self, channels: int, num_heads: int, reduction: int) -> nn.Module:
        return EMSA(channels, num_heads, reduction, self.norm_eps, self.head_interaction)
