"""Identities for exporters: each function equals a plain formula that the named exporter refuses or gets wrong."""
import torch
from torch import Tensor

from .graphs import is_exporting


def add_weighted(x: Tensor, y: Tensor, weight: float) -> Tensor:
    """Returns ``torch.add(x, y, alpha=weight)``, in two operators for litert-torch 0.10.0, which fails at ``alpha``."""
    if weight == 1:
        return x + y
    return x + weight * y if is_exporting() else torch.add(x, y, alpha=weight)


def floor_quotient(x: Tensor, divisor: int) -> Tensor:
    """Returns ``x // divisor`` in int32: Core ML Tools 9.0 divides integers to floats, which it refuses as indices."""
    return (x // divisor).int()


def roll(x: Tensor, shift: int, dim: int) -> Tensor:
    """Returns ``torch.roll(x, shift, dim)``: PyTorch 2.11 writes no ONNX files in which a size determines the shift."""
    end = -shift % x.shape[dim]
    first, last = x.split([end, x.shape[dim] - end], dim)
    return torch.cat([last, first], dim)


def rows_and_columns(x: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Returns ``F.pad`` of a map ``(B, H, W, C)`` by negative numbers: ExecuTorch 1.2.0 and Core ML Tools 9.0 can't."""
    return x.narrow(1, top, height).narrow(2, left, width)


def softmax_of_maps(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns ``logits.softmax(-1, dtype)`` for ``(B, heads, N, M)``, in three dimensions.

    In ExecuTorch 1.2.0, XNNPACK normalizes four over the heads, without an error, if a convolution comes before.
    """
    return logits.flatten(0, 1).softmax(-1, dtype).view_as(logits)


def windows_by_head(x: Tensor, num_heads: int, window_size: int) -> Tensor:
    """Partitions a map ``(B, H, W, num_heads * d)`` into windows and heads ``(B, windows, num_heads, N, d)``.

    Permutes six dimensions; see :func:`permutes_six_dimensions`.
    """
    b, h, w, c = x.shape
    s = window_size
    x = x.reshape(b * (h // s), s, w // s, s, num_heads, c // num_heads).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(b, (h // s) * (w // s), num_heads, s * s, c // num_heads)


def permutes_six_dimensions() -> bool:
    """Returns whether permutations must have at most six dimensions: with more, ExecuTorch 1.2.0 can't load XNNPACK."""
    return is_exporting()
