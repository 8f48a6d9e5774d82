"""Resizing and pooling of maps, tables and logits for all image sizes, of which compiled graphs know only symbols."""
import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .exportable import floor_quotient
from .graphs import may_be_nonzero
from .precision import at_least_float32
from .window import pad_to_multiple


def interpolate(x: Tensor, size: Sequence[int], mode: Literal['linear', 'bilinear', 'bicubic'],
                align_corners: bool = False) -> Tensor:
    """Resizes ``(N, C, ...)`` to ``size``; computes in at least float32, and returns the dtype of the input."""
    if not may_be_nonzero(*(new - old for new, old in zip(size, x.shape[2:], strict=True))):
        return x
    corners = align_corners if mode in ('bicubic', 'bilinear') else None
    return F.interpolate(x.to(at_least_float32(x)), size, mode=mode, align_corners=corners).to(x.dtype)


def resize_positions(table: Tensor, height: int, width: int, num_prefix_tokens: int,
                     mode: Literal['bilinear', 'bicubic'] = 'bicubic') -> Tensor:
    """Resizes the square grid of positions after those of the prefix tokens; bilinear interpolation aligns corners.

    Maps ``(1, num_prefix_tokens + side * side, C)`` to ``(1, num_prefix_tokens + height * width, C)``.
    """
    side = math.isqrt(int(table.shape[1]) - num_prefix_tokens)
    if not may_be_nonzero(height - side, width - side):
        return table
    grid = table[:, num_prefix_tokens:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    grid = interpolate(grid, (height, width), mode, align_corners=mode == 'bilinear').permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([table[:, :num_prefix_tokens], grid], dim=1) if num_prefix_tokens else grid


def nearest(x: Tensor, length: int) -> Tensor:
    """Returns ``length`` entries of the second axis of ``x``: entry ``n`` is the old entry ``n * old // length``."""
    old = x.shape[1]
    if not may_be_nonzero(old % length):
        return x[:, ::old // length]  # a view
    return x.index_select(1, floor_quotient(torch.arange(length, device=x.device) * old, length))


def adaptive_average(x: Tensor, length: int) -> Tensor:
    """Pools the second axis of three like ``F.adaptive_avg_pool1d``; ``length`` may exceed the size of the axis."""
    old_length = x.shape[1]
    if not may_be_nonzero(old_length % length):
        return x.unflatten(1, (length, -1)).mean(2)
    weights = pooling_matrix(old_length, length, like=x)
    if x.shape[2] == 1:
        return x[..., 0] @ weights.T
    return torch.bmm(weights.expand(x.shape[0], -1, -1), x)


def pooling_matrix(old_length: int, length: int, like: Tensor) -> Tensor:
    """Returns the matrix ``(length, old_length)`` of adaptive average pooling.

    The inputs divide a line into ``old_length`` equal parts, and the outputs divide the same line into ``length`` equal
    parts. An output is the mean of all inputs that overlap its part. From 3 to 2, the rows of the matrix are
    (1/2, 1/2, 0) and (0, 1/2, 1/2); from 1 to 2, both rows are (1).

    A product with this matrix has deterministic gradients on GPUs, unlike PyTorch's adaptive pooling, and compilers
    support it for all sizes.
    """
    output = torch.arange(length, device=like.device)
    input = torch.arange(old_length, device=like.device)
    # On a line of old_length * length units, an output is old_length units long, and an input is length units long.
    distance = output[:, None] * old_length - input * length
    overlaps = torch.logical_and(distance < length, distance > -old_length).to(like.dtype)
    return overlaps / overlaps.sum(1, keepdim=True)


def max_pool(x: Tensor, stride: int) -> Tensor:
    """Returns the maxima of 3 x 3 tokens: ``(B, H, W, C)`` to ``(B, ceil(H / stride), ceil(W / stride), C)``."""
    # The padding never changes a maximum; without it, torch adds a guard on whether the size is even.
    x = pad_to_multiple(x, stride, value=torch.finfo(x.dtype).min)
    return F.max_pool2d(x.permute(0, 3, 1, 2), 3, stride, padding=1).permute(0, 2, 3, 1)
