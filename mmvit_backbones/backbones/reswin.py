"""ReSwin: Swin Transformer with attention residuals.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), in the frame of Swin Transformer (Liu et al., ICCV 2021, arXiv 2103.14030).
"""
from collections.abc import Iterator

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers import (
    DropPath,
    Mlp,
    RelativePositionBias,
    add_product,
    cyclic_shift,
    needs_padding,
    pad_to_multiple,
    shifted_window_mask,
    window_partition,
    window_reverse,
    without_autocast,
)
from .swin import NORM_EPS, SwinFrame

GATE = 0.5  # weight of a block's own logits in the blend; the published network has no parameter for it


class WindowAttention(nn.Module):
    """Window attention whose logits are blended with those of the block before.

    Args:
        channels (int): Channels.
        num_heads (int): Number of heads.
        window_size (int): Side of a window, in tokens.
        shifted (bool): Whether windows are shifted by half their side.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, shifted: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.shift = window_size // 2 if shifted else 0
        self.scale = (channels // num_heads)**-0.5
        self.qkv = nn.Linear(channels, 3 * channels)
        self.position_bias = RelativePositionBias(window_size, num_heads)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attends inside windows.

        Args:
            x (Tensor): Normalised map ``(B, H, W, C)``, any size; padded with zeros to whole windows.
            residual (Tensor | None): Logits of the block before, ``(B, windows * heads, N, N)``.

        Returns:
            tuple[Tensor, Tensor]: Map ``(B, H, W, C)`` and this block's logits before the shift mask.
        """
        height, width = x.shape[1:3]
        shift = self.shift * (height > self.window_size) * (width > self.window_size)  # 0 where one window spans a side
        x = self.qkv(pad_to_multiple(x, self.window_size))
        padded_height, padded_width = x.shape[1:3]
        shifts = self.shift and needs_padding(shift)
        if shifts:
            x = cyclic_shift(x, shift)
        query, key, value = window_partition(x, self.num_heads, self.window_size)
        logits = self.blend(query, key, residual)
        attention = logits
        if shifts:
            mask = shifted_window_mask(padded_height, padded_width, self.window_size, shift, like=logits)
            attention = (logits.unflatten(1, (-1, self.num_heads)) + mask.unsqueeze(1)).flatten(1, 2)
        with without_autocast(x.device.type):  # the kernel of the softmax sums in float32 by itself
            x = attention.softmax(-1) @ value
        x = window_reverse(x, self.num_heads, self.window_size, padded_height, padded_width)
        if shifts:
            x = cyclic_shift(x, -shift)
        return self.proj(x[:, :height, :width]), logits

    def blend(self, query: Tensor, key: Tensor, residual: Tensor | None) -> Tensor:
        """Own logits plus position bias, blended with those of the block before (paper, equation 5).

        Returns:
            Tensor: ``(B, windows * heads, N, N)`` in the dtype of ``query``, which under autocast is the lower one.
        """
        bias = self.position_bias().to(query.dtype)
        batch_size, maps = query.shape[:2]
        shape = (maps // self.num_heads, self.num_heads)
        # One buffer: it takes bias and residual, then the product of query and key is added in place.
        if residual is None:
            return add_product(bias.expand(batch_size, shape[0], -1, -1, -1).contiguous(), query, key, alpha=self.scale)
        buffer = select_maps(residual, maps).unflatten(1, shape) + bias
        return add_product(buffer, query, key, beta=GATE, alpha=GATE * self.scale)  # both weigh the same: GATE is 0.5


def select_maps(residual: Tensor, count: int) -> Tensor:
    """Nearest selection of ``count`` maps along (window, head) between stages; no copy where a stride does it.

    The published network resizes this flat axis as it is: neither the window nor the head that is met corresponds in
    space. Integer arithmetic, because rounding of floats differs between devices.
    """
    given = residual.shape[1]
    if not torch.jit.is_tracing() and given % count == 0:
        return residual[:, ::given // count]
    index = torch.arange(count, device=residual.device) * given // count
    return residual[:, index]


class Block(nn.Module):
    """Window attention with residual logits, then the feed-forward half; pre-norm.

    Args:
        channels (int): Channels.
        num_heads (int): Number of heads.
        window_size (int): Side of a window, in tokens.
        mlp_ratio (int): Hidden channels of the feed-forward half, relative to ``channels``.
        shifted (bool): Whether windows are shifted by half their side.
        drop_path (float): Probability of dropping each half.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, mlp_ratio: int, shifted: bool,
                 drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.attn = WindowAttention(channels, num_heads, window_size, shifted)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels, mlp_ratio * channels)

    def forward(self, x: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        attended, logits = self.attn(self.norm1(x), residual)
        x = x + self.drop_path(attended)
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x, logits


@MODELS.register_module()
class ReSwin(SwinFrame):
    """ReSwin, a Swin Transformer that blends each block's attention logits with those of the block before.

    ``S_i = (q k^T / sqrt(d) + bias) / 2 + S_{i-1} / 2`` through the whole network, also from stage to stage; the
    shift mask is added to what enters the softmax and is not handed on. Works at any image size from one pixel up.

    Needed by the published weights, and therefore as published:

    - The logits of a stage's first block are blended with every n-th map of the stage before, counted along the flat
      axis (window, head): neither window nor head correspond in space.
    - A shifted block is blended with the unshifted windows of the same number.
    - Tokens of the padding are attended to.

    Args:
        arch (str | dict): ``'tiny'``, or a dict with ``embed_dims`` (int), ``depths`` and ``num_heads`` (a list each,
            one entry per stage), ``window_size`` (int) and ``mlp_ratio`` (int).
        in_channels (int): Channels of the images. Defaults to 3.
        out_indices (Sequence[int] | int): Stages whose maps are returned, each after a LayerNorm of its own.
            Defaults to (0, 1, 2, 3): strides 4, 8, 16, 32.
        window_size (int | None): Side of the windows; None takes the architecture's. Checkpoints of another window
            size are resized on load.
        drop_path_rate (float): Stochastic depth of the last block, rising linearly from 0. Defaults to 0.1.
        frozen_stages (int): -1 freezes nothing, 0 the patch embedding, ``n`` also the first ``n`` stages. Default: -1.
        norm_eval (bool): Accepted as for every backbone; the network has no batch norms. Defaults to False.
        with_cp (bool): Recompute blocks in the backward pass. Defaults to False.
        init_cfg (dict | list[dict] | None): MMEngine's. Defaults to None.

    Example:
        >>> import torch
        >>> from mmvit_backbones.backbones import ReSwin
        >>> maps = ReSwin('tiny').eval()(torch.rand(1, 3, 64, 96))
        >>> [tuple(x.shape) for x in maps]
        [(1, 96, 16, 24), (1, 192, 8, 12), (1, 384, 4, 6), (1, 768, 2, 3)]
    """

    arch_zoo = {
        'tiny': dict(embed_dims=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, mlp_ratio=4),
    }

    def make_block(self, channels: int, num_heads: int, window_size: int, mlp_ratio: int, drop_path: float,
                   index: int) -> nn.Module:
        return Block(channels, num_heads, window_size, mlp_ratio, shifted=index % 2 == 1, drop_path=drop_path)

    def iter_stages(self, images: Tensor) -> Iterator[Tensor]:
        x = self.patch_embed(images)
        residual = None
        for stage in self.stages:
            for block in stage.blocks:
                x, residual = self.run_block(block, x, residual)
            yield x
            if stage.downsample is not None:
                x = stage.downsample(x)
