"""Relative position bias of window attention (Swin Transformer, Liu et al., ICCV 2021, arXiv 2103.14030)."""
import torch
from torch import Tensor, nn

from ..ops.resizing import interpolate
from ..ops.window import position_bias
from .block import trunc_normal_
from .resize import resize_on_load


class RelativePositionTable(nn.Module):
    """Table of learned biases, one per head and displacement inside a window.

    Tables of checkpoints with another window size are resized bicubically on load, which is logged.

    Paper: arXiv 2103.14030, equation 4.
    """

    def __init__(self, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window_size - 1)**2, num_heads))
        self.reset_parameters()
        resize_on_load(self, 'relative_position_bias_table', resize_flat_table, dims=[0])

    def reset_parameters(self) -> None:
        trunc_normal_(self.relative_position_bias_table)

    def forward(self, index: Tensor | None = None) -> Tensor:
        """Returns the biases ``(num_heads, N, N)`` for the ``index`` of :func:`.relative_position_index`.

        Without ``index``, returns a copy of the table, ``((2 * window_size - 1) ** 2, num_heads)``: sharded training
        frees the table itself after this call.
        """
        if index is None:
            return self.relative_position_bias_table.clone()
        return position_bias(self.relative_position_bias_table.T, index)


def resize_flat_table(table: Tensor, shape: torch.Size) -> Tensor:
    """Resizes a table ``(D * D, heads)`` bicubically, with ``D = 2 * window_size - 1``."""
    return resize_table_of_heads(table.T, shape[::-1]).T


def resize_table_of_heads(table: Tensor, shape: torch.Size) -> Tensor:
    """Resizes a table ``(heads, D * D)`` like :func:`resize_flat_table`."""
    old, new = round(table.shape[1]**0.5), round(shape[1]**0.5)
    return interpolate(table.unflatten(1, (old, old))[None], (new, new), 'bicubic')[0].flatten(1)
