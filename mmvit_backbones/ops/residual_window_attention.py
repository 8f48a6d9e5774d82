"""Attention in shifted windows of a map, whose logits are blended with those of the block before.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), equation 5, in the windows of Swin Transformer (Liu et al., ICCV 2021, arXiv
2103.14030, section 3.2).
"""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import versions
from . import backends
from . import triton as kernels
from .precision import product_dtype
from .residual_attention import residual_attention
from .window import (
    crop,
    cyclic_shift,
    needs_padding,
    pad_to_multiple,
    shifted_window_mask,
    to_multiple,
    window_partition,
    window_reverse,
)

MAX_WINDOW_SIZE, MAX_HEAD_CHANNELS = 8, 64  # of the kernels, which hold a head of a window in registers


def residual_window_attention(x: Tensor, project: Callable[[Tensor], Tensor], prev_logits: Tensor | None, alpha: float,
                              scale: float, bias: Tensor, window_size: int,
                              shifted: tuple[int, Tensor] | None = None,
                              backend: str | None = None) -> tuple[Tensor, Tensor]:
    """:func:`residual_attention` in windows of a map that is padded with zeros to whole windows.

    In plain PyTorch, map, projections and results are copied into windows and back; the Triton kernels read and write
    them where they are. Windows of more than 8 x 8 tokens, heads of more than 64 channels and projections of more than
    2^31 elements per image are copied there, too.

    Args:
        x (Tensor): ``(B, H, W, channels)``.
        project (Callable): A linear layer, ``(..., channels)`` to ``(..., 3 * num_heads * d)``, ordered
            (query, key, value), head, d.
        prev_logits (Tensor | None): ``(B, windows, num_heads, N, N)`` with ``N = window_size ** 2``; windows row-major.
        alpha, scale, backend: As of :func:`residual_attention`.
        bias (Tensor): Added to the logits and handed on with them, ``(num_heads, N, N)``.
        window_size (int): Tokens along a side of a window.
        shifted (tuple[int, Tensor] | None): Tokens by which the padded map is rolled up and left, and what is added
            before the softmax alone, ``(windows, 1, N, N)``.

    Returns:
        tuple[Tensor, Tensor]: ``(B, H, W, num_heads * d)`` and the logits ``(B, windows, num_heads, N, N)``.
    """
    num_heads = bias.shape[0]
    head_channels = x.shape[-1] // num_heads
    if (backends.choose(backend, x, head_channels, 'residual window attention', example,
                        product_dtype(x)) == 'torch'
            or window_size > MAX_WINDOW_SIZE or head_channels > MAX_HEAD_CHANNELS
            or 3 * x.shape[1] * x.shape[2] * x.shape[3] >= 2**31):  # offsets in an image have 32 bits
        return reference(x, project, prev_logits, alpha, scale, bias, window_size, shifted, backend)
    qkv, padding = project(x), None
    shift, mask = shifted or (0, None)
    if needs_padding(*(to_multiple(n, window_size) - n for n in x.shape[1:3])):
        padding = project(x.new_zeros(1, x.shape[-1]))[0]
    prev_logits, bias, mask = (None if t is None else t.to(qkv.dtype) for t in (prev_logits, bias, mask))
    if prev_logits is not None and prev_logits.stride()[3:] != (window_size**2, 1):
        prev_logits = prev_logits.contiguous()
    return _TritonWindowAttention.apply(
        qkv, padding, prev_logits, bias.contiguous(), mask, num_heads, window_size, shift, alpha, scale)


def reference(x: Tensor, project: Callable[[Tensor], Tensor], prev_logits: Tensor | None, alpha: float, scale: float,
              bias: Tensor, window_size: int, shifted: tuple[int, Tensor] | None,
              backend: str | None = 'torch') -> tuple[Tensor, Tensor]:
    """The same with windows that are copied."""
    height, width = x.shape[1:3]
    x = pad_to_multiple(x, window_size)
    padded, (shift, mask) = x.shape[1:3], shifted or (0, None)
    if shifted is not None:
        x = cyclic_shift(x, shift)
    q, k, v = window_partition(project(x), bias.shape[0], window_size)
    x, logits = residual_attention(q, k, v, prev_logits, alpha, scale, bias, mask, backend=backend)
    x = window_reverse(x, window_size, *padded)
    if shifted is not None:
        x = cyclic_shift(x, -shift)
    return crop(x, height, width), logits


def example(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Outputs and gradients of small inputs: a map of whole windows; one with padding, a shift and previous logits."""
    results = []
    for window_size, shift, height, width in ((2, 0, 4, 2), (7, 3, 9, 15)):
        rows, columns = (to_multiple(length, window_size) // window_size for length in (height, width))
        area, num_heads, channels = window_size**2, 2, 8
        x, weight, prev_logits, bias = backends.example_inputs(
            device, dtype, (2, height, width, channels), (3 * channels, channels),
            (2, rows * columns, num_heads, area, area), (num_heads, area, area))
        inputs = x, weight, bias, *([prev_logits] if shift else [])
        mask = shifted_window_mask(rows * window_size, columns * window_size, window_size, shift, x)
        out, logits = residual_window_attention(
            x, lambda x: F.linear(x, weight, weight[:, 0]), prev_logits if shift else None, 0.5, 0.2, bias,
            window_size, (shift, mask) if shift else None, backend)
        results += [out, logits, *torch.autograd.grad(out.square().sum() + logits.sin().sum(), inputs)]
    return results


def sum_outside(x: Tensor, height: int, width: int) -> Tensor:
    """Of a padded map ``(B, H, W, C)``, the sum over the padding, ``(C)``."""
    if versions.is_compiling():  # a slice is compiled again where it is empty
        rows, columns = (torch.arange(n, device=x.device) for n in x.shape[1:3])
        outside = (rows >= height)[:, None] | (columns >= width)
        return torch.where(outside[..., None], x, 0).sum((0, 1, 2))
    return x[:, height:].sum((0, 1, 2)) + x[:, :height, width:].sum((0, 1, 2))


class _TritonWindowAttention(torch.autograd.Function):
    """Two kernels, which write the output, the logits and the gradients of both."""

    @staticmethod
    def forward(ctx, qkv, padding, prev_logits, bias, mask, num_heads, window_size, shift, alpha, scale):
        out, logits = kernels.residual_window_attention.forward(
            qkv, padding, prev_logits, bias, mask, num_heads, window_size, shift, alpha, scale)
        ctx.save_for_backward(qkv, padding, mask, logits)
        ctx.keep = 1. if prev_logits is None else 1 - alpha
        ctx.constants = window_size, shift, 1. if prev_logits is None else alpha, ctx.keep, scale
        ctx.set_materialize_grads(False)
        return out, logits

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad, grad_next):
        qkv, padding, mask, logits = ctx.saved_tensors
        height, width = qkv.shape[1:3]
        if grad is None:
            grad = qkv.new_zeros(()).expand(*qkv.shape[:3], qkv.shape[3] // 3)
        grad_qkv, grad_logits = kernels.residual_window_attention.backward(
            qkv, padding, mask, logits, grad, None if grad_next is None else grad_next.contiguous(), *ctx.constants)
        grad_padding = None
        if padding is not None:
            grad_padding = sum_outside(grad_qkv, height, width)
            grad_qkv = crop(grad_qkv, height, width)
        grad_bias = grad_logits.sum((0, 1)) / ctx.keep if ctx.needs_input_grad[3] else None
        return (grad_qkv, grad_padding, grad_logits if ctx.needs_input_grad[2] else None, grad_bias,
                *(None, ) * 6)
