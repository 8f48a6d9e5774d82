"""ViTAEv2 with varied-size windows: each head predicts the positions and sizes of its windows.

VSA: Learning Varied-Size Window Attention in Vision Transformers (Zhang et al., ECCV 2022, arXiv 2204.08446).
"""
from dataclasses import dataclass

from mmengine.registry import MODELS
from torch import nn
from typing_extensions import Unpack

from ..layers import ContextPosition, VariedSizeWindowAttention, reset_projections
from ..layers.varied_size_attention import OffsetDivisor, WindowPadding
from .arch import resolve_arch
from .base import CommonArguments
from .vitaev2 import SIZES, CellArch, CellPyramid


@dataclass(frozen=True, kw_only=True)
class ViTAEv2VSAArch(CellArch):
    """Settings of :class:`ViTAEv2VSA`.

    Attributes:
        embed_dims (tuple[int, ...]): Channels of each stage, multiples of 16, 32, 64 and 128.
        pyramid_dims (tuple[int, ...]): Channels of each dilated convolution, by stage.
        depths (tuple[int, ...]): Number of normal cells of each stage.
        num_heads (tuple[int, ...]): Number of attention heads of the normal cells of each stage.
        reduction_heads (tuple[int, ...]): Number of attention heads of the reduction cell of each stage.
        wide_conv (bool): Whether the convolution branch of reduction cells has twice the channels in ``embed_dims``
            instead of those in ``pyramid_dims``.
    """
    wide_conv: bool

    @property
    def conv_dims(self) -> tuple[int, ...]:
        return tuple(2 * channels for channels in self.embed_dims) if self.wide_conv else self.pyramid_dims


@MODELS.register_module()
class ViTAEv2VSA(CellPyramid):
    """ViTAEv2 with varied-size window attention in all four stages.

    A depth-wise 7 x 7 convolution before the attention's LayerNorm encodes positions. In normal cells, the residual
    connection skips this convolution. MLPs and other convolutions are as in :class:`ViTAEv2`.

    The authors' classifier and detector give different results for maps that are not square or not a multiple of the
    window size. The classifier pads maps at the right and bottom, and divides offsets by the number of windows along
    the same axis. The detector pads maps on all sides, and divides offsets by the number of windows along the other
    axis. The same weights can be used with both.

    Departures from the authors' code:

    - Maps are zero-padded before each reduction; the authors' code needs multiples of 32 pixels.
    - Maps with fewer tokens than a window are one window; the authors' detectors return NaN.
    - The position encoding is a 7 x 7 convolution; in the authors' detectors, it grows with the window.

    Paper: arXiv 2204.08446, variants.

    Args:
        arch (str | ViTAEv2VSAArch | dict): ``'small'``, ``'small_wide'``, ``'48m'``, ``'base'``, a
            :class:`ViTAEv2VSAArch`, or a dict of its fields.
        window_size (int): Side of the windows in tokens. Position biases of checkpoints with another window size are
            resized on load.
        window_padding (str): ``'corner'`` as in the authors' classifier, or ``'center'`` as in their detector.
        offset_divisor (str): ``'own_axis'`` as in the authors' classifier, or ``'other_axis'`` as in their detector.
        varied_windows (bool): Whether windows are moved and scaled. False gives the ablation with fixed windows.
        drop_rate (float): Dropout rate of normal cells: after attention, and inside and after the MLP.
        in_channels, out_indices, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        frozen_stages (int): -1 freezes nothing, 0 the stem, which is the first reduction cell,
            and ``n`` the stem and the first ``n`` stages.
        drop_path_rate (float): Upper bound of the stochastic depth rates. As in the authors' training, no cell reaches
            this bound; see :func:`mmvit_backbones.backbones.vitaev2.published_drop_paths`.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ViTAEv2VSA
        >>> [tuple(x.shape) for x in ViTAEv2VSA('small')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    no_decay = ('relative_position_bias_table', )
    arch_zoo: dict[str, ViTAEv2VSAArch] = {
        'small': ViTAEv2VSAArch(
            **SIZES['small'], num_heads=(2, 4, 8, 16), reduction_heads=(2, 2, 4, 8), wide_conv=False),
        'small_wide': ViTAEv2VSAArch(
            **SIZES['small'], num_heads=(2, 4, 8, 16), reduction_heads=(2, 4, 8, 16), wide_conv=True),
        '48m': ViTAEv2VSAArch(
            **{**SIZES['48m'], 'pyramid_dims': (96, 96, 192, 384)}, num_heads=(3, 6, 12, 24),
            reduction_heads=(3, 6, 12, 24), wide_conv=True),
        'base': ViTAEv2VSAArch(
            **{**SIZES['base'], 'pyramid_dims': (128, 128, 256, 512)}, num_heads=(4, 8, 16, 32),
            reduction_heads=(4, 8, 16, 32), wide_conv=True),
    }

    position_type = ContextPosition

    def __init__(self, arch: str | ViTAEv2VSAArch | dict = 'small', *, window_size: int = 7,
                 window_padding: WindowPadding = 'corner', offset_divisor: OffsetDivisor = 'own_axis',
                 varied_windows: bool = True, drop_rate: float = 0., drop_path_rate: float = 0.1,
                 **common: Unpack[CommonArguments]) -> None:
        self.window_padding: WindowPadding = window_padding
        self.offset_divisor: OffsetDivisor = offset_divisor
        self.varied_windows = varied_windows
        super().__init__(resolve_arch(arch, self.arch_zoo), window_size, drop_rate, drop_path_rate, **common)

    def init_layers(self) -> None:
        super().init_layers()
        reset_projections(self)

    def make_attention(self, stage: int, in_channels: int, num_heads: int, reduces: bool) -> nn.Module:
        return VariedSizeWindowAttention(in_channels, self.channels[stage], num_heads, self.window_size,
                                         self.window_padding, self.offset_divisor, self.varied_windows)
