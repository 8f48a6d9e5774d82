"""ViTAEv2 with varied-size windows: each head predicts the positions and sizes of its windows.

VSA: Learning Varied-Size Window Attention in Vision Transformers (Zhang et al., ECCV 2022, arXiv 2204.08446).
"""
from mmengine.registry import MODELS
from torch import nn

from ..layers import ContextPosition, VariedSizeWindowAttention, reset_projections
from ..layers.varied_size_attention import OffsetDivisor, WindowPadding
from .vitaev2 import ViTAEv2


@MODELS.register_module()
class ViTAEv2VSA(ViTAEv2):
    """ViTAEv2 with varied-size window attention in all four stages.

    A depth-wise 7 x 7 convolution before the attention's LayerNorm encodes positions. In normal cells, the residual
    connection skips this convolution. MLPs and other convolutions are as in :class:`ViTAEv2`.

    The authors' classifier and detector give different results for maps that are not square or not a multiple of the
    window size. The classifier pads maps at the right and bottom, and divides offsets by the number of windows along
    the same axis. The detector pads maps on all sides, and divides offsets by the number of windows along the other
    axis. The same weights can be used with both.

    Paper: arXiv 2204.08446, variants.

    Args:
        arch (str | dict): ``'small'``, ``'small_wide'``, ``'48m'``, ``'base'``, or a dict as for :class:`ViTAEv2`, but
            with ``wide_conv`` (bool) instead of ``attention``. ``wide_conv`` widens the convolution branch of reduction
            cells from the channels in ``pyramid_dims`` to twice the channels in ``embed_dims``.
        window_size (int): Side of the windows in tokens. Position biases of checkpoints with another window size are
            resized on load.
        window_padding (str): ``'corner'`` as in the authors' classifier, or ``'center'`` as in their detector.
        offset_divisor (str): ``'own_axis'`` as in the authors' classifier, or ``'other_axis'`` as in their detector.
        kwargs: ``drop_rate`` and ``drop_path_rate`` as for :class:`ViTAEv2`, and common arguments of :class:`Backbone`.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ViTAEv2VSA
        >>> [tuple(x.shape) for x in ViTAEv2VSA('small')(torch.rand(1, 3, 64, 96))]
        [(1, 64, 16, 24), (1, 128, 8, 12), (1, 256, 4, 6), (1, 512, 2, 3)]
    """

    arch_zoo = {
        'small': dict(
            embed_dims=[64, 128, 256, 512],
            pyramid_dims=[64, 64, 128, 256],
            depths=[2, 2, 8, 2],
            num_heads=[2, 4, 8, 16],
            reduction_heads=[2, 2, 4, 8],
            wide_conv=False,
        ),
        'small_wide': dict(
            embed_dims=[64, 128, 256, 512],
            pyramid_dims=[64, 64, 128, 256],
            depths=[2, 2, 8, 2],
            num_heads=[2, 4, 8, 16],
            reduction_heads=[2, 4, 8, 16],
            wide_conv=True,
        ),
        '48m': dict(
            embed_dims=[96, 192, 384, 768],
            pyramid_dims=[96, 96, 192, 384],
            depths=[2, 2, 11, 2],
            num_heads=[3, 6, 12, 24],
            reduction_heads=[3, 6, 12, 24],
            wide_conv=True,
        ),
        'base': dict(
            embed_dims=[128, 256, 512, 1024],
            pyramid_dims=[128, 128, 256, 512],
            depths=[2, 2, 12, 2],
            num_heads=[4, 8, 16, 32],
            reduction_heads=[4, 8, 16, 32],
            wide_conv=True,
        ),
    }

    position_type = ContextPosition

    def __init__(self, arch: str | dict = 'small', *, window_padding: WindowPadding = 'corner',
                 offset_divisor: OffsetDivisor = 'own_axis', **kwargs) -> None:
        self.window_padding: WindowPadding = window_padding
        self.offset_divisor: OffsetDivisor = offset_divisor
        super().__init__(arch, **kwargs)

    def init_layers(self) -> None:
        super().init_layers()
        reset_projections(self)

    def make_attention(self, stage: int, in_channels: int, num_heads: int, reduces: bool) -> nn.Module:
        return VariedSizeWindowAttention(in_channels, self.channels[stage], num_heads, self.window_size,
                                         self.window_padding, self.offset_divisor)

    def reduction_width(self, stage: int) -> int:
        return 2 * self.channels[stage] if self.arch['wide_conv'] else super().reduction_width(stage)
