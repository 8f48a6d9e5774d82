"""Varied-size window attention (VSA, Zhang et al., ECCV 2022, arXiv 2204.08446)."""
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.precision import without_autocast
from ..ops.sizes import at_least_one, to_multiple
from ..ops.varied_size_window import packed_attention
from ..ops.window import pad, window_padding
from .position_bias import RelativePositionTable

WindowPadding = Literal['corner', 'center']
OffsetDivisor = Literal['own_axis', 'other_axis', 'padded']


class VariedSizeWindowAttention(nn.Module):
    """Window attention that predicts the positions and sizes of its windows for each head.

    From the mean token of each window, the layer predicts an offset and a scale change per head. Keys and values are
    sampled from the moved and scaled windows (:func:`mmvit_backbones.ops.varied_size_window_attention`).

    Quirks kept for checkpoint compatibility:

    - The scale of the logits is ``(in_channels // num_heads) ** -0.5``, even if ``channels`` differs from
      ``in_channels``.
    - Keys and values in the padding are zero, without the bias of the projection.

    Paper: arXiv 2204.08446, section 3.2.

    Args:
        window_padding (str): How maps are padded to a multiple of the window size: ``'corner'``, at the right and
            bottom, as in the authors' classifier, or ``'center'``, on all sides, as in their detector.
        offset_divisor (str): Which number of windows divides the offsets. With ``'own_axis'``, offsets along x are
            divided by the number of windows along x, as in the authors' classifier. With ``'other_axis'``, they are
            divided by the number of windows along y, as in their detector. Offsets along y are treated the same way.
            These are the numbers of whole windows in the map; with ``'padded'``, offsets are divided by the number of
            windows of the padded map along their own axis, as in the authors' Swin-VSA.
        varied_windows (bool): Whether windows are moved and scaled. False gives fixed windows, without predictors.

    Raises:
        ValueError: If ``num_heads`` does not divide ``channels`` or exceeds ``in_channels``, or if ``window_padding``
            or ``offset_divisor`` is unknown.

    Example:
        >>> import torch
        >>> from mmvit_backbones.layers import VariedSizeWindowAttention
        >>> VariedSizeWindowAttention(in_channels=24, channels=16, num_heads=2)(torch.rand(1, 10, 13, 24)).shape
        torch.Size([1, 10, 13, 16])
    """

    def __init__(self, in_channels: int, channels: int, num_heads: int, window_size: int = 7,
                 window_padding: WindowPadding = 'corner', offset_divisor: OffsetDivisor = 'own_axis',
                 varied_windows: bool = True) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f'channels must be divisible by num_heads, got {channels} and {num_heads}')
        if in_channels < num_heads:
            raise ValueError(f'in_channels must be at least num_heads, got {in_channels} and {num_heads}')
        if window_padding not in ('corner', 'center'):
            raise ValueError(f"window_padding must be 'corner' or 'center', got {window_padding!r}")
        if offset_divisor not in ('own_axis', 'other_axis', 'padded'):
            raise ValueError(f"offset_divisor must be 'own_axis', 'other_axis' or 'padded', got {offset_divisor!r}")
        self.num_heads = num_heads
        self.window_size = window_size
        self.window_padding = window_padding
        self.offset_divisor = offset_divisor
        self.softmax_scale = (in_channels // num_heads)**-0.5
        self.qkv = nn.Linear(in_channels, 3 * channels)
        self.varied_windows = varied_windows
        if varied_windows:
            self.add_predictors(in_channels)
        self.position_bias = RelativePositionTable(num_heads, window_size)
        self.proj = nn.Linear(channels, channels)

    def add_predictors(self, in_channels: int) -> None:
        self.sampling_offsets = nn.Linear(in_channels, 2 * self.num_heads)
        self.sampling_scales = nn.Linear(in_channels, 2 * self.num_heads)

    def predict(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Maps mean tokens ``(B, nh, nw, in_channels)`` to scales and offsets ``(B, nh, nw, heads, 2)``, x before y."""
        scale, offset = self.sampling_scales(windows), self.sampling_offsets(windows)
        return scale.unflatten(-1, (self.num_heads, 2)), offset.unflatten(-1, (self.num_heads, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Maps a normalized map ``(B, H, W, in_channels)`` of any size to ``(B, H, W, channels)``."""
        table = self.position_bias()
        scale, offset, padding = self.predict_windows(x, table.dtype)
        return self.proj(packed_attention(self.qkv(x), scale, offset, table, self.window_size, padding,
                                          self.softmax_scale))

    def predict_windows(self, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Predicts the scale change and offset of each window of a normalized map ``(B, H, W, in_channels)``.

        Predictions are computed without autocast, because bfloat16 rounds an offset near 100 pixels to half pixels, in
        ``dtype``, which must be that of the position bias: weights of linear layers may be quantized.

        Paper: arXiv 2204.08446, figure 3b.

        Returns:
            tuple[Tensor, Tensor, tuple[int, int]]: Scale change and offset (in feature-map pixels) of every window,
            each ``(B, heads, 2, nh, nw)`` with x before y, and the padding (top, left) before the map.
        """
        height, width = x.shape[1:3]
        padded_height, padded_width = (to_multiple(n, self.window_size) for n in (height, width))
        top, left, bottom, right = window_padding(height, width, self.window_size, self.window_padding == 'center')
        if not self.varied_windows:
            shape = x.shape[0], self.num_heads, 2, padded_height // self.window_size, padded_width // self.window_size
            zeros = x.new_zeros(shape, dtype=dtype)
            return zeros, zeros, (top, left)
        x = pad(x, top, left, bottom, right)
        with without_autocast(x.device.type):
            windows = F.avg_pool2d(x.to(dtype).permute(0, 3, 1, 2), self.window_size).permute(0, 2, 3, 1)
            scale, offset = self.predict(F.leaky_relu(windows))
        scale, offset = (y.permute(0, 3, 4, 1, 2) for y in (scale, offset))
        # A predicted offset of 1 means half a side of the padded map, divided by the number of windows.
        if self.offset_divisor == 'padded':
            num_x, num_y = (n // self.window_size for n in (padded_width, padded_height))
        else:
            num_x, num_y = (at_least_one(n // self.window_size) for n in (width, height))
        if self.offset_divisor == 'other_axis':
            num_x, num_y = num_y, num_x
        offset_x = offset[:, :, 0] * ((padded_width - 1) / 2 / num_x)
        offset_y = offset[:, :, 1] * ((padded_height - 1) / 2 / num_y)
        return scale, torch.stack([offset_x, offset_y], 2), (top, left)


def reset_projections(model: nn.Module) -> None:
    """Resets the projections of varied-size window attention to PyTorch's default initialization."""
    for module in model.modules():
        if isinstance(module, VariedSizeWindowAttention):
            predictors = (module.sampling_offsets, module.sampling_scales) if module.varied_windows else ()
            for linear in (module.qkv, *predictors, module.proj):
                linear.reset_parameters()
