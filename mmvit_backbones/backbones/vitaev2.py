"""ViTAEv2: a pyramid vision transformer whose cells run attention and convolutions in parallel.

ViTAEv2: Vision Transformer Advanced by Exploring Inductive Bias for Image Recognition and Beyond (Zhang et al., IJCV
2023, arXiv 2202.10108).
"""
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import GlobalAttention, WindowAttention, drop_path_schedule, init_linear
from ..layers.vitae_cell import (
    PYRAMIDS,
    ConvBranch,
    ConvLayer,
    NormalCell,
    PyramidReduction,
    ReductionCell,
    first_convs,
)
from ..ops.window import with_contiguous_gradient
from .arch import Arch, resolve_arch
from .base import Backbone, CommonArguments

NUM_STAGES = 4
NORMAL_GROUPS = (1, 32, 64, 128)
REDUCTION_GROUPS = (1, 16, 32, 64)
MIXED = 'window', 'window', 'global', 'global'
SIZES: dict[str, dict[str, Any]] = {  # of ViTAEv2 and, with one departure, of ViTAEv2-VSA
    'small': dict(embed_dims=(64, 128, 256, 512), pyramid_dims=(64, 64, 128, 256), depths=(2, 2, 8, 2)),
    '48m': dict(embed_dims=(96, 192, 384, 768), pyramid_dims=(64, 64, 192, 384), depths=(2, 2, 11, 2)),
    'base': dict(embed_dims=(128, 256, 512, 1024), pyramid_dims=(96, 96, 256, 512), depths=(2, 2, 12, 2))}
MLP_RATIO = 4


class ViTAEv2Stage(nn.Module):
    """A reduction cell, followed by normal cells at its output resolution."""

    def __init__(self, reduction: ReductionCell, cells: Iterable[NormalCell]) -> None:
        super().__init__()
        self.reduction = reduction
        self.cells: Any = nn.ModuleList(cells)


@dataclass(frozen=True, kw_only=True)
class CellArch(Arch):
    """Settings of a network of four stages with cells.

    Attributes:
        embed_dims (tuple[int, ...]): Channels of each stage, multiples of 16, 32, 64 and 128.
        pyramid_dims (tuple[int, ...]): Channels of each dilated convolution, by stage.
        depths (tuple[int, ...]): Number of normal cells of each stage.
        num_heads (tuple[int, ...]): Number of attention heads of the normal cells of each stage.
        reduction_heads (tuple[int, ...]): Number of attention heads of the reduction cell of each stage.
    """
    may_be_zero: ClassVar[tuple[str, ...]] = ('depths', )  # a stage still has its reduction cell

    embed_dims: tuple[int, ...]
    pyramid_dims: tuple[int, ...]
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    reduction_heads: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.depths) != NUM_STAGES:
            raise ValueError(f'arch: every list must have {NUM_STAGES} entries, got {self}')
        for name in ('num_heads', 'reduction_heads'):
            self.check_multiples(name, self.embed_dims, getattr(self, name))
        self.check_multiples('the groups of embed_dims', self.embed_dims, (REDUCTION_GROUPS[1], *NORMAL_GROUPS[1:]))
        self.check_multiples('the groups of pyramid_dims', self.conv_dims, REDUCTION_GROUPS)

    @property
    def conv_dims(self) -> tuple[int, ...]:
        """Returns the hidden channels of the convolution branch of the reduction cell of each stage."""
        return self.pyramid_dims


@dataclass(frozen=True, kw_only=True)
class ViTAEv2Arch(CellArch):
    """Settings of :class:`ViTAEv2`.

    Attributes:
        embed_dims (tuple[int, ...]): Channels of each stage, multiples of 16, 32, 64 and 128.
        pyramid_dims (tuple[int, ...]): Channels of each dilated convolution by stage, multiples of 1, 16, 32 and 64.
        depths (tuple[int, ...]): Number of normal cells of each stage.
        num_heads (tuple[int, ...]): Number of attention heads of the normal cells of each stage.
        reduction_heads (tuple[int, ...]): Number of attention heads of the reduction cell of each stage.
        attention (tuple[str, ...]): Attention of each stage: ``'window'`` or ``'global'``.
    """
    attention: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not {'window', 'global'} >= set(self.attention):
            raise ValueError(f"arch: attention must be 'window' or 'global', got {self.attention}")


class CellPyramid(Backbone):
    """Base class of ViTAEv2 and ViTAEv2-VSA; subclasses build attention in ``make_attention``."""
    block_types = (NormalCell, ReductionCell)
    stem_names = ('stages.0.reduction', )
    image_convs = first_convs('stages.0.reduction')
    position_type = nn.Identity  # position encoding before the attention's LayerNorm

    def __init__(self, arch: CellArch, window_size: int, drop_rate: float, drop_path_rate: float,
                 **common: Unpack[CommonArguments]) -> None:
        if window_size < 1:
            raise ValueError(f'window_size must be at least 1, got {window_size}')
        super().__init__(channels=arch.embed_dims, strides=[4, 8, 16, 32], **common)
        self.window_size = window_size
        before = [self.in_channels, *self.channels]
        stages = []
        for stage, rates in enumerate(published_drop_paths(drop_path_rate, arch.depths)):
            reduction = self.reduction_cell(arch, stage, before[stage])
            stages.append(ViTAEv2Stage(reduction, [self.normal_cell(arch, stage, drop_rate, rate) for rate in rates]))
        self.stages: Any = nn.ModuleList(stages)
        self.init_layers()
        self.freeze()

    def init_layers(self) -> None:
        self.apply(init_linear)

    def reduction_cell(self, arch: CellArch, stage: int, in_channels: int) -> ReductionCell:
        channels, hidden = self.channels[stage], arch.conv_dims[stage]
        pyramid = PyramidReduction(in_channels, arch.pyramid_dims[stage], **PYRAMIDS[stage])
        attn = self.make_attention(stage, pyramid.out_channels, arch.reduction_heads[stage], reduces=True)
        conv_branch = ConvBranch(
            in_channels, REDUCTION_GROUPS[stage],
            [ConvLayer(hidden, stride=2), ConvLayer(hidden, stride=pyramid.stride // 2), ConvLayer(channels)])
        return ReductionCell(channels, pyramid, attn, conv_branch, position=self.position_type(pyramid.out_channels))

    def normal_cell(self, arch: CellArch, stage: int, drop_rate: float, drop_path: float) -> NormalCell:
        channels = self.channels[stage]
        attn = self.make_attention(stage, channels, arch.num_heads[stage], reduces=False)
        conv_branch = ConvBranch(channels, NORMAL_GROUPS[stage],
                                 [ConvLayer(MLP_RATIO * channels), ConvLayer(channels), ConvLayer(channels)])
        return NormalCell(channels, attn, conv_branch, MLP_RATIO, drop_rate, drop_path,
                          self.position_type(channels))

    def make_attention(self, stage: int, in_channels: int, num_heads: int, reduces: bool) -> nn.Module:
        """Builds attention from ``in_channels`` to the stage's channels; ``reduces`` is True in the reduction cell."""
        raise NotImplementedError

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        x = images.permute(0, 2, 3, 1)
        for stage in self.stages:
            x = self.run_block(stage.reduction, x)
            for cell in stage.cells:
                x = self.run_block(cell, x)
            yield x, with_contiguous_gradient(x)

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns one layer per cell of the stage, without the first stage's reduction cell, which is the stem."""
        layers: list[list[nn.Module]] = [[cell] for cell in self.stages[stage].cells]
        if stage > 0:
            layers.insert(0, [self.stages[stage].reduction])
        return layers


@MODELS.register_module()
class ViTAEv2(CellPyramid):
    """ViTAEv2, a network of four stages, each with one reduction cell and several normal cells.

    A reduction cell runs dilated convolutions, followed by attention, in parallel with strided convolutions. A normal
    cell runs attention in parallel with three 3 x 3 convolutions. There is no position embedding and no final norm.
    Before each reduction, maps are zero-padded at the right and bottom to a multiple of the stride. The features have
    strides 4, 8, 16 and 32.

    Quirks kept for checkpoint compatibility:

    - For window attention, maps are padded on all sides to whole windows. Padding tokens are attended to; their keys
      and values are the biases of the QKV projection.
    - Reduction cells have no residual connection around attention. Their global attention adds the values to its output
      instead, and has no bias in the projection to query, key and value.

    Departures from the authors' code:

    - Maps are zero-padded before each reduction; the authors' code needs multiples of 32 pixels.
    - ``out_indices`` selects maps; the authors' detectors always return all four.

    Paper: arXiv 2202.10108, multi-stage design.
    Paper: arXiv 2202.10108, variants.

    Args:
        arch (str | ViTAEv2Arch | dict): ``'small'``, ``'48m'``, ``'base'``, ``'small_window'``, a
            :class:`ViTAEv2Arch`, or a dict of its fields.
        window_size (int): Side of the windows in tokens. The weights fit all window sizes.
        drop_rate (float): Dropout rate of normal cells: after attention, and inside and after the MLP.
        in_channels, out_indices, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        frozen_stages (int): -1 freezes nothing, 0 the stem, which is the first reduction cell,
            and ``n`` the stem and the first ``n`` stages.
        drop_path_rate (float): Upper bound of the stochastic depth rates. As in the authors' training, no cell reaches
            this bound; see :func:`published_drop_paths`.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ViTAEv2
        >>> [tuple(x.shape) for x in ViTAEv2('small')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    arch_zoo: dict[str, ViTAEv2Arch] = {
        'small': ViTAEv2Arch(**SIZES['small'], num_heads=(1, 2, 4, 8), reduction_heads=(1, 1, 2, 4), attention=MIXED),
        '48m': ViTAEv2Arch(**SIZES['48m'], num_heads=(1, 2, 4, 8), reduction_heads=(1, 1, 2, 4), attention=MIXED),
        'base': ViTAEv2Arch(**SIZES['base'], num_heads=(1, 4, 8, 16), reduction_heads=(1, 1, 4, 8), attention=MIXED),
        'small_window': ViTAEv2Arch(
            **SIZES['small'], num_heads=(1, 2, 4, 8), reduction_heads=(1, 1, 2, 4), attention=('window', ) * 4),
    }

    def __init__(self, arch: str | ViTAEv2Arch | dict = 'small', *, window_size: int = 7, drop_rate: float = 0.,
                 drop_path_rate: float = 0.1, **common: Unpack[CommonArguments]) -> None:
        self.arch: ViTAEv2Arch = resolve_arch(arch, self.arch_zoo)
        super().__init__(self.arch, window_size, drop_rate, drop_path_rate, **common)

    def make_attention(self, stage: int, in_channels: int, num_heads: int, reduces: bool) -> nn.Module:
        channels = self.channels[stage]
        if self.arch.attention[stage] == 'window':
            return WindowAttention(in_channels, channels, num_heads, self.window_size)
        return GlobalAttention(in_channels, channels, num_heads, qkv_bias=not reduces, value_skip=reduces)


def published_drop_paths(drop_path_rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Returns the stochastic depth rates of the normal cells, by stage, as in the training of the published networks.

    The rates of a stage are a slice of ``sum(depths)`` rates, which increase linearly from 0 to ``drop_path_rate``. The
    slice starts at the depth of the previous stage, not at the sum of all previous depths. With depths 2, 2, 8 and 2,
    the slices of the four stages start at indices 0, 2, 2 and 8.
    """
    rates = [rate for stage in drop_path_schedule(drop_path_rate, depths) for rate in stage]
    return [rates[start:start + depth] for start, depth in pairwise([0, *depths])]
