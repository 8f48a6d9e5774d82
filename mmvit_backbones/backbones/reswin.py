"""ReSwin: Swin Transformer with attention residuals.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), in the frame of Swin Transformer (Liu et al., ICCV 2021, arXiv 2103.14030).
"""
from collections.abc import Iterator

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers import RelativePositionBias, ResidualAttentionBlock
from ..ops.residual_attention import residual_attention
from ..ops.window import (
    at_most,
    crop,
    cyclic_shift,
    needs_padding,
    pad_to_multiple,
    shifted_window_mask,
    to_multiple,
    window_partition,
    window_reverse,
)
from .swin import NORM_EPS, SwinBase

ALPHA = 0.5  # weight of a block's own logits; the published network has no parameter for it


class WindowAttention(nn.Module):
    """Window attention whose logits are blended with those of the block before (ReViT paper, equation 5)."""

    def __init__(self, channels: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.qkv = nn.Linear(channels, 3 * channels)
        self.position_bias = RelativePositionBias(num_heads, window_size)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, prev_logits: Tensor | None, shift: int,
                mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps ``(B, H, W, C)`` and the logits of the block before to the same shapes.

        Logits are ``(B, windows, num_heads, N, N)``. The windows are shifted by ``shift`` tokens where there is a
        ``mask`` ``(windows, 1, N, N)``, which is not handed on.
        """
        height, width = x.shape[1:3]
        x = pad_to_multiple(x, self.window_size)  # padded tokens are attended to, as in the authors' code
        padded = x.shape[1:3]
        if mask is not None:
            x = cyclic_shift(x, shift)
        q, k, v = window_partition(self.qkv(x), self.num_heads, self.window_size)
        bias = self.position_bias()
        if prev_logits is not None:
            prev_logits, bias = select_maps(prev_logits, *q.shape[1:3]), ALPHA * bias
        out, logits = residual_attention(q, k, v, prev_logits, ALPHA, bias, mask)
        x = window_reverse(out, self.window_size, *padded)
        if mask is not None:
            x = cyclic_shift(x, -shift)
        return self.proj(crop(x, height, width)), logits


def select_maps(logits: Tensor, num_windows: int, num_heads: int) -> Tensor:
    """Selects the nearest maps along the flat axis (window, head), by integers: floats round differently by device."""
    if logits.shape[2] == num_heads and logits.shape[1] == num_windows:  # in this order: no guard between stages
        return logits
    logits, count = logits.flatten(1, 2), num_windows * num_heads
    if not needs_padding(logits.shape[1] % count):
        return logits[:, ::logits.shape[1] // count].unflatten(1, (num_windows, num_heads))
    index = torch.arange(count, device=logits.device) * logits.shape[1] // count
    return logits.index_select(1, index).unflatten(1, (num_windows, num_heads))


@MODELS.register_module()
class ReSwin(SwinBase):
    """ReSwin, a Swin Transformer that blends each block's attention logits with those of the block before.

    ``S_i = (q k^T / sqrt(d) + bias) / 2 + S_{i-1} / 2`` through the whole network, also from stage to stage; the
    shift mask is added to what enters the softmax and is not handed on.

    Quirks kept for checkpoint compatibility:

    - The logits of a stage's first block are blended with every n-th map of the stage before, counted along the flat
      axis (window, head): neither window nor head correspond in space.
    - A shifted block is blended with the unshifted windows of the same number.
    - Tokens of the padding are attended to.

    Args:
        arch (str | dict): ``'tiny'``, or a dict with ``embed_dims`` (int), ``depths`` and ``num_heads`` (a list each,
            one entry per stage), ``window_size`` (int) and ``mlp_ratio`` (int).
        window_size (int | None): Side of the windows; None takes the architecture's. Checkpoints of another window
            size are resized on load.
        kwargs: Common arguments of :class:`Backbone`. The outputs have strides 4, 8, 16, 32 and a LayerNorm each.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ReSwin
        >>> [tuple(x.shape) for x in ReSwin('tiny')(torch.rand(1, 3, 64, 96))]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    arch_zoo = {
        'tiny': dict(embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, mlp_ratio=4),
    }

    def make_block(self, channels: int, num_heads: int, mlp_ratio: int, drop_path: float) -> nn.Module:
        attn = WindowAttention(channels, num_heads, self.window_size)
        return ResidualAttentionBlock(channels, attn, mlp_ratio, drop_path, NORM_EPS)

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        x = self.patch_embed(images)
        logits = None
        for stage in self.stages:
            shift, mask = self.shifted_windows(x)
            for i, block in enumerate(stage.blocks):
                x, logits = self.run_attention_block(block, x, logits, shift, mask if i % 2 else None)
            yield x
            x = stage.downsample(x)

    def shifted_windows(self, x: Tensor) -> tuple[int, Tensor | None]:
        """Returns shift and mask of every second block of a stage; no mask where one window spans a side."""
        height, width = (to_multiple(n, self.window_size) for n in x.shape[1:3])
        shift = self.window_size // 2
        for length in (height, width):
            shift = shift * at_most(length // self.window_size - 1, 1)
        if not needs_padding(shift):
            return 0, None
        return shift, shifted_window_mask(height, width, self.window_size, shift, like=x)
