"""ViTAE: a vision transformer whose cells run attention and convolutions in parallel.

ViTAE: Vision Transformer Advanced by Exploring Intrinsic Inductive Bias (Xu et al., NeurIPS 2021, arXiv 2106.03348).
The large plain networks are from ViTAEv2 (Zhang et al., IJCV 2023, arXiv 2202.10108).
"""
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import GlobalAttention, LinearAttention, TokenEmbed, drop_path_schedule, init_linear
from ..layers.vitae_cell import (
    PYRAMIDS,
    BaseNormalCell,
    ConvBranch,
    ConvLayer,
    NormalCell,
    PyramidReduction,
    ReductionCell,
    first_convs,
)
from ..ops.window import pad_to_multiple, with_contiguous_gradient
from .arch import Arch, resolve_arch
from .base import Backbone, CommonArguments

NUM_REDUCTIONS = 3
REDUCTION_DROP_RATE = 0.1  # dropout rate in reduction cells
PATCH_SIZE = 16


class BareReduction(nn.Module):
    """The last reduction, before the normal cells: dilated convolutions without attention."""

    def __init__(self, pyramid: PyramidReduction) -> None:
        super().__init__()
        self.pyramid = pyramid

    def forward(self, x: Tensor) -> Tensor:
        return self.pyramid(pad_to_multiple(x, self.pyramid.stride))


def reduction_cell(stage: int, in_channels: int, channels: int, width: int) -> nn.Module:
    """Returns the reduction cell of a stage; ``width`` is the number of channels of each dilated convolution."""
    pyramid = PyramidReduction(in_channels, width, **PYRAMIDS[stage])
    if stage == NUM_REDUCTIONS - 1:
        return BareReduction(pyramid)
    attn = LinearAttention(pyramid.out_channels, channels, REDUCTION_DROP_RATE)
    convs = [ConvLayer(width, stride=2, norm=False), ConvLayer(width, stride=pyramid.stride // 2), ConvLayer(channels)]
    conv_branch = ConvBranch(in_channels, groups=1, layers=convs, last_act=True)
    return ReductionCell(channels, pyramid, attn, conv_branch, REDUCTION_DROP_RATE)


class PlainCell(BaseNormalCell):
    """Normal cell of a plain network; the class token takes part in attention, but not in the convolutions.

    Paper: arXiv 2106.03348, section 3.4.
    Paper: arXiv 2202.10108, scaling up.
    """

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Keeps the shape ``(B, 1 + height * width, C)``."""
        attended = self.dropout(self.attn(self.norm1(tokens)))
        convolved = self.conv_branch(tokens[:, 1:].unflatten(1, (height, width))).flatten(1, 2)
        tokens = self.drop_path(self.drop_path(tokens, attended), F.pad(convolved, (0, 0, 1, 0)))
        return self.drop_path(tokens, self.mlp(self.norm2(tokens)))


@dataclass(frozen=True, kw_only=True)
class ViTAEArch(Arch):
    """Settings of :class:`ViTAE`.

    Attributes:
        embed_dims (tuple[int, ...]): Channels of each stage; a single entry for a plain network.
        pyramid_dims (tuple[int, ...]): Channels of each dilated convolution, by stage; empty for a plain network.
        depth (int): Number of normal cells.
        num_heads (int): Number of attention heads of normal cells.
        groups (int): Groups of the convolutions in normal cells.
        mlp_ratio (float): Hidden channels of the MLPs and convolutions of normal cells, relative to their channels.
    """
    may_be_empty: ClassVar[tuple[str, ...]] = ('pyramid_dims', )

    embed_dims: tuple[int, ...]
    pyramid_dims: tuple[int, ...]
    depth: int
    num_heads: int
    groups: int
    mlp_ratio: float

    def __post_init__(self) -> None:
        super().__post_init__()
        channels, widths = self.embed_dims, self.pyramid_dims
        if (len(channels), len(widths)) not in ((NUM_REDUCTIONS, NUM_REDUCTIONS), (1, 0)):
            raise ValueError(f'arch: embed_dims and pyramid_dims must have {NUM_REDUCTIONS} entries each, or 1 and 0 '
                             f'entries for a plain network, got {channels} and {widths}')
        self.check_multiples('num_heads', channels[-1:], [self.num_heads])
        self.check_multiples('groups', channels[-1:], [self.groups])
        if widths and channels[-1] != 2 * widths[-1]:
            raise ValueError(f'arch: the last entry of embed_dims must be twice the last entry of '
                             f'pyramid_dims, got {channels} and {widths}')
        hidden = int(self.mlp_ratio * channels[-1])
        self.check_multiples(f'groups, with mlp_ratio={self.mlp_ratio}', [hidden], [self.groups])


@MODELS.register_module()
class ViTAE(Backbone):
    """ViTAE, version 1, with its plain variants.

    The smaller networks reduce the image in three steps to strides 4, 8 and 16. The first two reductions use linear
    attention, and all normal cells follow the third reduction. Before each reduction, maps are zero-padded at the right
    and bottom.

    The plain networks (``'base'``, ``'large'``, ``'huge'``) embed patches of 16 x 16 pixels and have a class token. For
    dense prediction, ``SimpleFeaturePyramid`` builds a pyramid from the single output map.

    There is no norm after the last cell; classifiers of plain networks normalize the pooled vector
    (``LayerNormPooling``).

    Departures from the authors' code:

    - Maps are zero-padded before each reduction; the authors' code needs multiples of 32 pixels.
    - Positions of plain networks are interpolated for other image sizes.

    Paper: arXiv 2106.03348, figure 2.
    Paper: arXiv 2106.03348, section 3.5.
    Paper: arXiv 2202.10108, scaling up.

    Args:
        arch (str | ViTAEArch | dict): ``'tiny'``, ``'6m'``, ``'13m'``, ``'small'``, ``'base'``, ``'large'``,
            ``'huge'``, a :class:`ViTAEArch`, or a dict of its fields.
        img_size (int): Side in pixels of the square images for which plain networks store positions. For other image
            sizes, the positions are interpolated.
        drop_rate (float): Dropout rate of normal cells: after attention, and inside and after the MLP.
        in_channels, out_indices, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        frozen_stages (int): -1 freezes nothing, 0 the stem, which is the first reduction or the
            patch embedding, and ``n`` the stem and the first ``n`` stages. Plain networks have a single stage; see
            :class:`Backbone` for frozen blocks.
        drop_path_rate (float): Stochastic depth rate of the last normal cell; rates rise linearly from 0 at the first
            normal cell.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ViTAE
        >>> [tuple(x.shape) for x in ViTAE('tiny')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 64, 8, 12), (1, 256, 4, 6)]
    """

    block_types = (BaseNormalCell, ReductionCell, BareReduction)
    no_decay = ('class_token', 'pos_embed')
    arch_zoo: dict[str, ViTAEArch] = {
        'tiny': ViTAEArch(
            embed_dims=(64, 64, 256), pyramid_dims=(64, 64, 128), depth=7, num_heads=4, groups=64, mlp_ratio=2),
        '6m': ViTAEArch(
            embed_dims=(64, 64, 256), pyramid_dims=(64, 64, 128), depth=10, num_heads=4, groups=64, mlp_ratio=2),
        '13m': ViTAEArch(
            embed_dims=(64, 64, 320), pyramid_dims=(64, 64, 160), depth=11, num_heads=5, groups=64, mlp_ratio=2),
        'small': ViTAEArch(
            embed_dims=(96, 192, 384), pyramid_dims=(64, 64, 192), depth=14, num_heads=6, groups=96, mlp_ratio=3),
        'base': ViTAEArch(embed_dims=(768, ), pyramid_dims=(), depth=12, num_heads=12, groups=192, mlp_ratio=4),
        'large': ViTAEArch(embed_dims=(1024, ), pyramid_dims=(), depth=24, num_heads=16, groups=256, mlp_ratio=4),
        'huge': ViTAEArch(embed_dims=(1280, ), pyramid_dims=(), depth=32, num_heads=16, groups=320, mlp_ratio=4),
    }

    def __init__(self, arch: str | ViTAEArch | dict = 'tiny', *, img_size: int = 224, drop_rate: float = 0.,
                 drop_path_rate: float = 0.1, **common: Unpack[CommonArguments]) -> None:
        arch = resolve_arch(arch, self.arch_zoo)
        channels, widths = arch.embed_dims, arch.pyramid_dims
        super().__init__(channels=channels, strides=[4, 8, 16] if widths else [PATCH_SIZE], **common)

        self.is_plain = not widths
        if self.is_plain:
            self.plain_blocks = 'cells'
            self.patch_embed = TokenEmbed(self.in_channels, channels[0], PATCH_SIZE, img_size, class_token=True)
        else:
            self.reductions = nn.ModuleList()
            before = (self.in_channels, *channels)
            for stage, width in enumerate(widths):
                self.reductions.append(reduction_cell(stage, before[stage], channels[stage], width))
            self.stem_names = ('reductions.0', )
            self.image_convs = first_convs('reductions.0')
        drop_paths, = drop_path_schedule(drop_path_rate, [arch.depth])
        self.cells = nn.ModuleList(self.normal_cell(arch, drop_rate, drop_path) for drop_path in drop_paths)
        self.init_layers()
        self.freeze()

    def normal_cell(self, arch: ViTAEArch, drop_rate: float, drop_path: float) -> BaseNormalCell:
        channels, hidden = self.channels[-1], int(arch.mlp_ratio * self.channels[-1])
        attn = GlobalAttention(channels, channels, arch.num_heads)
        if self.is_plain:
            conv_branch = ConvBranch(channels, arch.groups, [ConvLayer(hidden), ConvLayer(channels)])
            return PlainCell(channels, attn, conv_branch, arch.mlp_ratio, drop_rate, drop_path)
        convs = [ConvLayer(hidden), ConvLayer(channels), ConvLayer(channels)]
        conv_branch = ConvBranch(channels, arch.groups, convs, last_act=True)
        return NormalCell(channels, attn, conv_branch, arch.mlp_ratio, drop_rate, drop_path)

    def init_layers(self) -> None:
        self.apply(init_linear)

    def iter_blocks(self, images: Tensor) -> Iterator[Tensor]:
        tokens, height, width = self.patch_embed(images)
        for cell in self.cells:
            tokens = self.run_block(cell, tokens, height, width)
            yield tokens[:, 1:].unflatten(1, (height, width))

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        if self.is_plain:
            x = images
            for x in self.iter_blocks(images):  # noqa: B007  only the last map is needed
                pass
            yield x, x
            return
        x = images.permute(0, 2, 3, 1)
        for stage, reduction in enumerate(self.reductions, start=1):
            x = self.run_block(reduction, x)
            if stage == self.num_stages:
                for cell in self.cells:
                    x = self.run_block(cell, x)
            yield x, with_contiguous_gradient(x)

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns one layer per cell of the stage, without the first stage's reduction cell, which is the stem."""
        layers: list[list[nn.Module]] = []
        if stage > 0:
            layers.append([self.reductions[stage]])
        if stage == self.num_stages - 1:
            layers += [[cell] for cell in self.cells]
        return layers
