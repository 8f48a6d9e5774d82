"""ReSwin: Swin Transformer with attention residuals.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), based on Swin Transformer (Liu et al., ICCV 2021, arXiv 2103.14030).
"""
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from typing_extensions import Unpack

from ..layers import Mlp, RelativePositionTable, ResidualAttentionBlock
from ..ops.residual_attention import residual_attention
from ..ops.resizing import nearest
from ..ops.sizes import ceil_div
from ..ops.window import (
    crop,
    cyclic_shift,
    pad_to_multiple,
    relative_position_index,
    shifted_window_mask,
    window_partition,
    window_reverse,
    window_shift,
)
from .arch import resolve_arch
from .base import CommonArguments
from .swin import NORM_EPS, SwinArch, SwinBase

ALPHA = 0.5  # weight of a block's own logits; a constant in the published network


class Windows(NamedTuple):
    """How a map is partitioned into windows.

    Args:
        positions (Tensor): Relative position index ``(N, N)``, with N tokens per window.
        shift (int): Tokens by which the map is rolled up and left first.
        mask (Tensor | None): ``(windows, 1, N, N)``, added to the logits for the softmax; None if windows aren't
            shifted.
    """
    positions: Tensor
    shift: int = 0
    mask: Tensor | None = None


class ReSwinAttention(nn.Module):
    """Window attention with a relative position bias; its logits are blended with the logits of the previous block.

    Paper: arXiv 2402.11301, equation 5.
    Paper: arXiv 2103.14030, equation 4.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.qkv = nn.Linear(channels, 3 * channels)
        self.position_bias = RelativePositionTable(num_heads, window_size)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, prev_logits: Tensor | None, windows: Windows) -> tuple[Tensor, Tensor]:
        """Maps ``(B, H, W, C)`` and the previous block's logits to an output and blended logits of the same shapes.

        Logits are ``(B, windows, num_heads, N, N)``. The returned logits don't contain the mask.
        """
        height, width = x.shape[1:3]
        x = pad_to_multiple(x, self.window_size)  # padding tokens are attended to, as in the authors' code
        padded = x.shape[1:3]
        if windows.mask is not None:
            x = cyclic_shift(x, windows.shift)
        q, k, v = window_partition(self.qkv(x), self.num_heads, self.window_size)
        bias = self.position_bias(windows.positions)
        out, logits = residual_attention(
            q, k, v, prev_logits=prev_logits, alpha=ALPHA, own_bias=bias, mask=windows.mask)
        x = window_reverse(out, self.window_size, *padded)
        if windows.mask is not None:
            x = cyclic_shift(x, -windows.shift)
        return self.proj(crop(x, height, width)), logits


def nearest_maps(logits: Tensor, num_windows: int, num_heads: int) -> Tensor:
    """Selects logits of the previous stage for the windows and heads of the next stage, as in the authors' code.

    The logits ``(B, windows, num_heads, N, N)`` consist of ``windows * num_heads`` maps. New map ``n`` is the old map
    ``n * old // new``, where ``old`` and ``new`` are the numbers of maps. For example, 3 new maps from 6 old maps are
    the old maps 0, 2 and 4, and 4 new maps from 6 old maps are the old maps 0, 1, 3 and 4.

    Paper: arXiv 2402.11301, residual attention.
    """
    maps = nearest(logits.flatten(1, 2), num_windows * num_heads).unflatten(1, (num_windows, num_heads))
    # torch.compile makes graphs of their own for views and other strides; the logits of blocks are neither.
    return maps.clone(memory_format=torch.contiguous_format)


@dataclass(frozen=True, kw_only=True)
class ReSwinArch(SwinArch):
    """Settings of :class:`ReSwin`, with the fields of :class:`SwinArch`."""


@MODELS.register_module()
class ReSwin(SwinBase):
    """ReSwin, a Swin Transformer that blends the attention logits of each block with those of the previous block.

    From the second block on, the logits are ``S_i = (q k^T / sqrt(d) + bias) / 2 + S_{i-1} / 2``, also across stages.
    The mask of shifted windows is added before the softmax, and is not part of the logits that the next block receives.
    The features have strides 4, 8, 16 and 32, and a LayerNorm each.

    Quirks kept for checkpoint compatibility:

    - The first block of a stage blends its logits with logits of other windows and heads of the previous stage; see
      :func:`nearest_maps`.
    - Logits of a shifted window are blended with logits of the unshifted window with the same index, and vice versa.
    - Padding tokens are attended to.

    Paper: arXiv 2402.11301, variants.
    Paper: arXiv 2103.14030, table 7.

    Args:
        arch (str | ReSwinArch | dict): ``'tiny'``, a :class:`ReSwinArch`, or a dict of its fields.
        window_size (int | None): Side of the windows in tokens. None uses ``window_size`` of ``arch``. Position biases
            of checkpoints with another window size are resized on load.
        residual_logits (bool): Whether blocks blend their logits with those of the previous block. False gives the
            ablation without attention residuals.
        in_channels, out_indices, frozen_stages, norm_eval, with_cp, init_cfg: As in :class:`Backbone`.
        drop_path_rate (float): Stochastic depth rate of the last block; rates rise linearly from 0 at the first block.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ReSwin
        >>> [tuple(x.shape) for x in ReSwin('tiny')(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    no_decay = ('relative_position_bias_table', )
    arch_zoo: dict[str, ReSwinArch] = {
        'tiny': ReSwinArch(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7, mlp_ratio=4),
    }

    def __init__(self, arch: str | ReSwinArch | dict = 'tiny', *, window_size: int | None = None,
                 residual_logits: bool = True, drop_path_rate: float = 0.1, **common: Unpack[CommonArguments]) -> None:
        super().__init__(resolve_arch(arch, self.arch_zoo), window_size, drop_path_rate, **common)
        self.residual_logits = residual_logits

    def make_block(self, channels: int, num_heads: int, mlp_ratio: float, drop_path: float) -> nn.Module:
        attn = ReSwinAttention(channels, num_heads, self.window_size)
        return ResidualAttentionBlock(channels, attn, Mlp(channels, int(mlp_ratio * channels)), drop_path, NORM_EPS)

    def iter_stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        x = self.patch_embed(images)
        windows = Windows(relative_position_index(self.window_size, x.device))
        logits = None
        for number, (stage, num_heads) in enumerate(zip(self.stages, self.num_heads)):
            shifted = self.shifted(windows, x)
            if logits is not None:
                rows, columns = self.grid_of_windows(x)
                logits = nearest_maps(logits, rows * columns, num_heads)
            for i, block in enumerate(stage.blocks):
                x, new_logits = self.run_block(block, x, logits, shifted if i % 2 else windows)
                logits = new_logits if self.residual_logits else None
            yield x, self.output_norm(number)(x)
            x = stage.downsample(x)

    def grid_of_windows(self, x: Tensor) -> tuple[int, int]:
        """Returns the rows and columns of windows that cover a map ``(B, H, W, C)``."""
        return ceil_div(x.shape[1], self.window_size), ceil_div(x.shape[2], self.window_size)

    def shifted(self, windows: Windows, x: Tensor) -> Windows:
        """Returns the windows of every second block for a map ``(B, H, W, C)``.

        If one window covers a side of the map, or windows have a single token, the shift is 0, and the mask is None,
        or zeros in graphs.

        Paper: arXiv 2103.14030, figure 2.
        """
        rows, columns = self.grid_of_windows(x)
        shift = window_shift(rows, columns, self.window_size)
        height, width = rows * self.window_size, columns * self.window_size
        mask = shifted_window_mask(height, width, self.window_size, shift, like=x)
        return Windows(windows.positions, shift, mask)
