"""Relative position bias of window attention (Swin, arXiv 2103.14030, equation 4)."""
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ..ops.window import relative_position_index
from .block import trunc_normal_


class RelativePositionTable(nn.Module):
    """One learned bias per head and displacement inside a window.

    A checkpoint trained with another window size is resized on load: bicubic, with one log line.
    """

    def __init__(self, window_size: int, num_heads: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1)**2, num_heads))
        trunc_normal_(self.relative_position_bias_table)
        self._register_load_state_dict_pre_hook(self._resize_table)

    def forward(self) -> Tensor:
        """The table, ``((2 * window_size - 1) ** 2, num_heads)``."""
        return self.relative_position_bias_table

    def _resize_table(self, state_dict: dict, prefix: str, *args) -> None:
        key, own = f'{prefix}relative_position_bias_table', self.relative_position_bias_table
        table = state_dict.get(key)
        if table is None or table.shape == own.shape or table.shape[1:] != own.shape[1:]:
            return  # nothing to resize; load_state_dict itself reports a missing table or other heads
        side, new_side = int(table.shape[0]**0.5), 2 * self.window_size - 1
        image = table.float().T.unflatten(1, (side, side))[None]
        image = F.interpolate(image, (new_side, new_side), mode='bicubic')
        state_dict[key] = image.flatten(2)[0].T.to(table.dtype)
        print_log(f'{key}: resized from window {(side + 1) // 2} to {self.window_size}', logger='current')


class RelativePositionBias(RelativePositionTable):
    """The table read for every pair of tokens of a window."""

    def __init__(self, window_size: int, num_heads: int) -> None:
        super().__init__(window_size, num_heads)
        self.register_buffer('index', relative_position_index(window_size).flatten(), persistent=False)

    def forward(self) -> Tensor:
        """The bias, ``(num_heads, N, N)`` with ``N = window_size ** 2``."""
        area = self.window_size**2
        return self.relative_position_bias_table.T.index_select(1, self.index).view(-1, area, area)


def resize_bicubic(image: Tensor, side: int) -> Tensor:
    """``(..., H, W)`` to ``(..., side, side)``, in float32 at least."""
    dtype = torch.promote_types(image.dtype, torch.float32)
    resized = F.interpolate(image.to(dtype), size=(side, side), mode='bicubic', align_corners=False)
    return resized.to(image.dtype)


def resize_position_bias(table: Tensor, length: int, wrapped: bool) -> Tensor:
    """Resizes a wrapped table of position biases, ``(heads, D * D)`` with ``D = 2 * window_size - 1``, to another
    length: as it is (``wrapped``), or with its displacements put in order before and back after.
    """
    old_side, new_side = round(table.shape[1]**0.5), round(length**0.5)
    image = table.unflatten(1, (old_side, old_side))
    if wrapped:
        return resize_bicubic(image[None], new_side)[0].flatten(1)
    # Displacement 0 is at w // 2 and moves to the center, w - 1.
    old_shift, new_shift = [side // 2 - (side + 1) // 4 for side in (old_side, new_side)]
    image = image.roll((old_shift, old_shift), dims=(1, 2))
    return resize_bicubic(image[None], new_side)[0].roll((-new_shift, -new_shift), dims=(1, 2)).flatten(1)
