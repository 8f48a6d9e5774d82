"""ViTAEv2: a pyramid vision transformer whose cells run attention and convolutions in parallel.

ViTAEv2: Vision Transformer Advanced by Exploring Inductive Bias for Image Recognition and Beyond (Zhang et al., IJCV
2023, arXiv 2202.10108).
"""
from collections.abc import Iterable, Iterator
from itertools import pairwise

from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers import GlobalAttention, ModuleList, WindowAttention, drop_path_schedule, init_linear
from ..layers.vitae_cell import PYRAMIDS, ConvBranch, ConvLayer, NormalCell, PyramidReduction, ReductionCell
from .base import Backbone, pyramid

NORMAL_GROUPS = [1, 32, 64, 128]
REDUCTION_GROUPS = [1, 16, 32, 64]
MLP_RATIO = 4


class Stage(nn.Module):
    """A reduction cell, followed by normal cells at its output resolution."""

    def __init__(self, reduction: ReductionCell, cells: Iterable[NormalCell]) -> None:
        super().__init__()
        self.reduction = reduction
        self.cells = ModuleList(cells)


@MODELS.register_module()
class ViTAEv2(Backbone):
    """ViTAEv2, a network of four stages, each with one reduction cell and several normal cells.

    A reduction cell runs dilated convolutions, followed by attention, in parallel with strided convolutions. A normal
    cell runs attention in parallel with three 3 x 3 convolutions. There is no position embedding and no final norm.
    Before each reduction, maps are zero-padded at the right and bottom to a multiple of the stride.

    Quirks kept for checkpoint compatibility:

    - For window attention, maps are padded on all sides to whole windows. Padding tokens are attended to; their keys
      and values are the biases of the QKV projection.
    - Reduction cells have no residual connection around attention. Their global attention adds the values to its output
      instead, and has no bias in the projection to query, key and value.

    Paper: arXiv 2202.10108, multi-stage design.
    Paper: arXiv 2202.10108, variants.

    Args:
        arch (str | dict): ``'small'``, ``'48m'``, ``'base'``, ``'small_window'``, or a dict of lists with one
            entry per stage: ``embed_dims`` (channels of the stage, multiples of 16, 32, 64 and 128), ``pyramid_dims``
            (channels of each dilated convolution, multiples of 1, 16, 32 and 64), ``depths`` (number of normal cells),
            ``num_heads`` (of normal cells), ``reduction_heads`` (of the reduction cell) and ``attention``
            (``'window'`` or ``'global'``).
        window_size (int): Side of the windows in tokens. The weights fit all window sizes.
        drop_rate (float): Dropout rate of normal cells: after attention, and inside and after the MLP.
        drop_path_rate (float): Upper bound of the stochastic depth rates. As in the authors' training, no cell reaches
            this bound; see :func:`published_drop_paths`.
        kwargs: Common arguments of :class:`Backbone`. The outputs have strides 4, 8, 16 and 32. The stem is the
            first reduction cell.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ViTAEv2
        >>> [tuple(x.shape) for x in ViTAEv2('small')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    arch_zoo = {
        'small': dict(
            embed_dims=[64, 128, 256, 512],
            pyramid_dims=[64, 64, 128, 256],
            depths=[2, 2, 8, 2],
            num_heads=[1, 2, 4, 8],
            reduction_heads=[1, 1, 2, 4],
            attention=['window', 'window', 'global', 'global'],
        ),
        '48m': dict(
            embed_dims=[96, 192, 384, 768],
            pyramid_dims=[64, 64, 192, 384],
            depths=[2, 2, 11, 2],
            num_heads=[1, 2, 4, 8],
            reduction_heads=[1, 1, 2, 4],
            attention=['window', 'window', 'global', 'global'],
        ),
        'base': dict(
            embed_dims=[128, 256, 512, 1024],
            pyramid_dims=[96, 96, 256, 512],
            depths=[2, 2, 12, 2],
            num_heads=[1, 4, 8, 16],
            reduction_heads=[1, 1, 4, 8],
            attention=['window', 'window', 'global', 'global'],
        ),
        'small_window': dict(
            embed_dims=[64, 128, 256, 512],
            pyramid_dims=[64, 64, 128, 256],
            depths=[2, 2, 8, 2],
            num_heads=[1, 2, 4, 8],
            reduction_heads=[1, 1, 2, 4],
            attention=['window', 'window', 'window', 'window'],
        ),
    }

    stem = ('stages.0.reduction', )
    position_type = nn.Identity  # position encoding before the attention's LayerNorm; overridden by ViTAEv2VSA

    def __init__(self, arch: str | dict = 'small', *, window_size: int = 7, drop_rate: float = 0.,
                 drop_path_rate: float = 0.1, **kwargs) -> None:
        arch = self.resolve_arch(arch)
        if len(arch['depths']) != len(PYRAMIDS):
            raise ValueError(f'arch: every list must have {len(PYRAMIDS)} entries, got {arch}')
        if window_size < 1:
            raise ValueError(f'window_size must be at least 1, got {window_size}')
        super().__init__(**pyramid(arch), **kwargs)
        self.arch = arch
        self.window_size = window_size
        check_groups('embed_dims', self.channels, [REDUCTION_GROUPS[1], *NORMAL_GROUPS[1:]])
        check_groups('pyramid_dims', map(self.reduction_width, range(self.num_stages)), REDUCTION_GROUPS)
        widths = [self.in_channels, *self.channels]
        stages = []
        for stage, rates in enumerate(published_drop_paths(drop_path_rate, arch['depths'])):
            reduction = self.reduction_cell(stage, widths[stage])
            stages.append(Stage(reduction, [self.normal_cell(stage, drop_rate, rate) for rate in rates]))
        self.stages = ModuleList(stages)
        self.init_layers()
        self.freeze()

    def init_layers(self) -> None:
        self.apply(init_linear)

    def reduction_cell(self, stage: int, in_channels: int) -> ReductionCell:
        channels, width = self.channels[stage], self.arch['pyramid_dims'][stage]
        pyramid = PyramidReduction(in_channels, width, **PYRAMIDS[stage])
        attn = self.make_attention(stage, pyramid.out_channels, self.arch['reduction_heads'][stage], reduces=True)
        hidden = self.reduction_width(stage)
        conv_branch = ConvBranch(
            in_channels, REDUCTION_GROUPS[stage],
            [ConvLayer(hidden, stride=2), ConvLayer(hidden, stride=pyramid.stride // 2), ConvLayer(channels)])
        return ReductionCell(channels, pyramid, attn, conv_branch, position=self.position_type(pyramid.out_channels))

    def normal_cell(self, stage: int, drop_rate: float, drop_path: float) -> NormalCell:
        channels = self.channels[stage]
        attn = self.make_attention(stage, channels, self.arch['num_heads'][stage], reduces=False)
        conv_branch = ConvBranch(channels, NORMAL_GROUPS[stage],
                                 [ConvLayer(MLP_RATIO * channels), ConvLayer(channels), ConvLayer(channels)])
        return NormalCell(channels, attn, conv_branch, MLP_RATIO, drop_rate, drop_path,
                          self.position_type(channels))

    def make_attention(self, stage: int, in_channels: int, num_heads: int, reduces: bool) -> nn.Module:
        """Builds attention from ``in_channels`` to the stage's channels; ``reduces`` is True in the reduction cell."""
        channels, kind = self.channels[stage], self.arch['attention'][stage]
        if kind == 'window':
            return WindowAttention(in_channels, channels, num_heads, self.window_size)
        if kind == 'global':
            return GlobalAttention(in_channels, channels, num_heads, qkv_bias=not reduces, value_skip=reduces)
        raise ValueError(f"arch: attention must be 'window' or 'global', got {kind!r}")

    def reduction_width(self, stage: int) -> int:
        """Returns the hidden channels of the convolution branch of a reduction cell."""
        return self.arch['pyramid_dims'][stage]

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        x = images.permute(0, 2, 3, 1)
        for stage in self.stages:
            x = self.run_block(stage.reduction, x)
            for cell in stage.cells:
                x = self.run_block(cell, x)
            yield x

    def stage_layers(self, stage: int) -> list[list[nn.Module]]:
        """Returns one layer per cell of the stage, without the first stage's reduction cell, which is the stem."""
        layers: list[list[nn.Module]] = [[cell] for cell in self.stages[stage].cells]
        if stage > 0:
            layers.insert(0, [self.stages[stage].reduction])
        return layers


def check_groups(key: str, channels: Iterable[int], groups: list[int]) -> None:
    """Raises ValueError if the channels of a stage are not a multiple of its number of groups."""
    channels = list(channels)
    if any(width % count for width, count in zip(channels, groups, strict=True)):
        raise ValueError(f'arch: {key} must be multiples of {groups}, got {channels}')


def published_drop_paths(drop_path_rate: float, depths: list[int]) -> list[list[float]]:
    """Returns the stochastic depth rates of the normal cells, by stage, as in the training of the published networks.

    The rates of a stage are a slice of ``sum(depths)`` rates, which increase linearly from 0 to ``drop_path_rate``. The
    slice starts at the depth of the previous stage, not at the sum of all previous depths. With depths 2, 2, 8 and 2,
    the slices of the four stages start at indices 0, 2, 2 and 8.
    """
    rates = [rate for stage in drop_path_schedule(drop_path_rate, depths) for rate in stage]
    return [rates[start:start + depth] for start, depth in pairwise([0, *depths])]
