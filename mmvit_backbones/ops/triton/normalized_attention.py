"""Triton kernels of :mod:`mmvit_backbones.ops.normalized_attention`.

Let ``P = softmax(logits)`` and ``C = P - 1 / M``, which has mean 0. The normalized map is ``A = rstd * C`` with
``rstd = (mean(C ** 2) + eps) ** -0.5`` per image and head, and the output is ``A v``. With the gradient G of the output
and ``D = G v^T``, the backward pass computes::

    grad_value = A^T G
    grad_C = rstd * (D - A * mean(A * D)) + constant
    grad_logits = P * (grad_C - sum over keys of P * grad_C)

The constant cancels in the last line, and ``sum(A * D) = sum(grad_value * v)``. ``C`` and ``P`` exist only in
registers.
"""
from collections.abc import Sequence

import torch
import triton.language as tl
from torch import Tensor

from .autograd import differentiable
from .blocks import dot, head_of, is_inside, load_block, load_rows, store_block, store_rows
from .launch import block_of, jit, kernel_operator, launch, matmul_precision, num_blocks, with_strides


@jit
def _softmax(logits, stride_n, stride_m, lse, row, key, rows, keys, n, m):
    """Computes a block of ``P`` and of ``C``, both with zeros outside the map."""
    inside = is_inside(row, key, rows, keys, n, m)
    block = load_block(logits, stride_n, stride_m, row, key, rows, keys, n, m).to(tl.float32)
    attn = tl.where(inside, tl.exp(block - lse[:, None]), 0.)
    return attn, tl.where(inside, attn - 1. / m, 0.)


@jit
def _statistics_kernel(logits, stride_b, stride_h, stride_n, stride_m, lse, squares, heads, n, m,
                       BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr):
    image = tl.program_id(0)
    logits = head_of(logits, heads, stride_b, stride_h)
    row, rows, keys = tl.program_id(1) * BLOCK_N, tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M)
    highest = tl.full((BLOCK_N,), -float('inf'), tl.float32)
    total = tl.zeros((BLOCK_N,), tl.float32)
    for key in range(0, m, BLOCK_M):
        block = load_block(logits, stride_n, stride_m, row, key, rows, keys, n, m).to(tl.float32)
        block = tl.where(keys[None, :] < m - key, block, -float('inf'))
        new_highest = tl.maximum(highest, tl.max(block, 1))
        total = total * tl.exp(highest - new_highest) + tl.sum(tl.exp(block - new_highest[:, None]), 1)
        highest = new_highest
    row_lse = highest + tl.log(total)
    square = tl.zeros((BLOCK_N,), tl.float32)
    for key in range(0, m, BLOCK_M):
        _, centered = _softmax(logits, stride_n, stride_m, row_lse, row, key, rows, keys, n, m)
        square += tl.sum(centered * centered, 1)
    store_rows(lse, row, rows, n, row_lse)
    tl.store(squares + image * tl.num_programs(1) + tl.program_id(1), tl.sum(square))


@jit
def _sum_of(partial, image, count, BLOCK: tl.constexpr):
    """Returns the sum of ``count`` partial sums of one image and head."""
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, count, BLOCK):
        index = start + tl.arange(0, BLOCK)
        total += tl.load(partial + image * count + index, mask=index < count, other=0.)
    return tl.sum(total)


@jit
def _forward_kernel(logits, stride_b, stride_h, stride_n, stride_m, lse, squares, value, value_b, value_h, value_m,
                    value_d, out, out_b, out_h, out_n, out_d, rstd, heads, n, m, d, eps, blocks,
                    BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    image = tl.program_id(0)
    logits = head_of(logits, heads, stride_b, stride_h)
    value = head_of(value, heads, value_b, value_h)
    out = head_of(out, heads, out_b, out_h)
    row = tl.program_id(1) * BLOCK_N
    rows, keys, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    factor = 1. / tl.sqrt(_sum_of(squares, image, blocks, 128) / n / m + eps)
    row_lse = load_rows(lse, row, rows, n)
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for key in range(0, m, BLOCK_M):
        _, centered = _softmax(logits, stride_n, stride_m, row_lse, row, key, rows, keys, n, m)
        v = load_block(value, value_m, value_d, key, 0, keys, channels, m, d)
        total = dot((factor * centered).to(v.dtype), v, total, PRECISION)
    store_block(out, out_n, out_d, row, 0, rows, channels, n, d, total)
    if tl.program_id(1) == 0:
        tl.store(rstd + image, factor)


@jit
def _grad_logits_kernel(logits, stride_b, stride_h, stride_n, stride_m, lse, rstd, products, value, value_b, value_h,
                        value_m, value_d, grad, grad_b, grad_h, grad_n, grad_d, grad_logits, out_b, out_h, out_n, out_m,
                        heads, n, m, d, blocks, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
                        PRECISION: tl.constexpr):
    image = tl.program_id(0)
    logits = head_of(logits, heads, stride_b, stride_h)
    grad_logits = head_of(grad_logits, heads, out_b, out_h)
    value = head_of(value, heads, value_b, value_h)
    row = tl.program_id(1) * BLOCK_N
    rows, keys, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    g = load_block(head_of(grad, heads, grad_b, grad_h), grad_n, grad_d, row, 0, rows, channels, n, d)
    factor, mean = tl.load(rstd + image), _sum_of(products, image, blocks, 128) / n / m
    row_lse = load_rows(lse, row, rows, n)
    row_sum, attn_sum = tl.zeros((BLOCK_N,), tl.float32), tl.zeros((BLOCK_N,), tl.float32)
    for sweep in tl.static_range(2):  # the first sweep computes the sums of the rows
        for key in range(0, m, BLOCK_M):
            attn, centered = _softmax(logits, stride_n, stride_m, row_lse, row, key, rows, keys, n, m)
            v = load_block(value, value_m, value_d, key, 0, keys, channels, m, d)
            grad_centered = factor * (dot(g, tl.trans(v), None, PRECISION) - factor * centered * mean)
            if sweep == 0:
                row_sum += tl.sum(attn * grad_centered, 1)
                attn_sum += tl.sum(attn, 1)
            else:  # dividing by attn_sum cancels the constant even if the rounded P doesn't sum to exactly 1
                row_mean = row_sum / tl.where(attn_sum > 0, attn_sum, 1.)
                result = attn * (grad_centered - row_mean[:, None])
                store_block(grad_logits, out_n, out_m, row, key, rows, keys, n, m, result)


@jit
def _grad_value_kernel(logits, stride_b, stride_h, stride_n, stride_m, lse, rstd, value, value_b, value_h, value_m,
                       value_d, grad, grad_b, grad_h, grad_n, grad_d, grad_value, out_b, out_h, out_m, out_d, products,
                       heads, n, m, d,
                       BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    image = tl.program_id(0)
    logits = head_of(logits, heads, stride_b, stride_h)
    grad = head_of(grad, heads, grad_b, grad_h)
    key = tl.program_id(1) * BLOCK_M
    rows, keys, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    factor = tl.load(rstd + image)
    total = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for row in range(0, n, BLOCK_N):
        row_lse = load_rows(lse, row, rows, n)
        _, centered = _softmax(logits, stride_n, stride_m, row_lse, row, key, rows, keys, n, m)
        g = load_block(grad, grad_n, grad_d, row, 0, rows, channels, n, d)
        total = dot(tl.trans(factor * centered).to(g.dtype), g, total, PRECISION)
    store_block(head_of(grad_value, heads, out_b, out_h), out_m, out_d, key, 0, keys, channels, m, d, total)
    v = load_block(head_of(value, heads, value_b, value_h), value_m, value_d, key, 0, keys, channels, m, d)
    tl.store(products + image * tl.num_programs(1) + tl.program_id(1), tl.sum(total * v.to(tl.float32)))


BLOCK_N, BLOCK_M = 64, 64


@kernel_operator('softmax_statistics')
def softmax_statistics(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the log-sum-exp of each row, ``(B, heads, N)``, and the sum of ``C ** 2`` over each block of rows."""
    b, heads, n, m = logits.shape
    lse = logits.new_empty((b, heads, n), dtype=torch.float32)
    squares = logits.new_empty((b, heads, num_blocks(n, BLOCK_N)), dtype=torch.float32)
    launch(_statistics_kernel, (b * heads, num_blocks(n, BLOCK_N)), *with_strides(logits), lse, squares, heads, n, m,
           BLOCK_N=BLOCK_N, BLOCK_M=block_of(m, BLOCK_M))
    return lse, squares


@kernel_operator('normalized_attention')
def forward(logits: Tensor, lse: Tensor, squares: Tensor, value: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Returns the output ``(B, heads, N, d)``, stored as ``(B, N, heads, d)``, and ``rstd`` ``(B, heads)``."""
    (b, heads, n, m), d = logits.shape, value.shape[3]
    out = value.new_empty((b, n, heads, d)).transpose(1, 2)
    rstd = lse.new_empty((b, heads))
    launch(_forward_kernel, (b * heads, num_blocks(n, BLOCK_N)), *with_strides(logits), lse, squares,
           *with_strides(value, out), rstd, heads, n, m, d, eps, squares.shape[2], BLOCK_N=BLOCK_N,
           BLOCK_M=block_of(m, BLOCK_M), BLOCK_D=block_of(d), PRECISION=matmul_precision())
    return out, rstd


@kernel_operator('normalized_attention_grad_logits')
def grad_logits(logits: Tensor, lse: Tensor, rstd: Tensor, products: Tensor, value: Tensor, grad: Tensor) -> Tensor:
    """Returns the gradient of the logits."""
    (b, heads, n, m), d = logits.shape, value.shape[3]
    result = torch.empty_like(logits)
    launch(_grad_logits_kernel, (b * heads, num_blocks(n, BLOCK_N)), *with_strides(logits), lse, rstd, products,
           *with_strides(value, grad, result), heads, n, m, d, products.shape[2], BLOCK_N=BLOCK_N,
           BLOCK_M=block_of(m, BLOCK_M), BLOCK_D=block_of(d), PRECISION=matmul_precision())
    return result


@kernel_operator('normalized_attention_grad_value')
def grad_value(logits: Tensor, lse: Tensor, rstd: Tensor, value: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradient of the values, stored as ``(B, M, heads, d)``, and sums of ``A * D`` per block of keys."""
    (b, heads, n, m), d = logits.shape, grad.shape[3]
    result = grad.new_empty((b, m, heads, d)).transpose(1, 2)
    block_m = block_of(m, BLOCK_M)
    products = lse.new_empty((b, heads, num_blocks(m, block_m)))
    launch(_grad_value_kernel, (b * heads, num_blocks(m, block_m)), *with_strides(logits), lse, rstd,
           *with_strides(value, grad, result), products, heads, n, m, d, BLOCK_N=BLOCK_N, BLOCK_M=block_m,
           BLOCK_D=block_of(d), PRECISION=matmul_precision())
    return result, products


def launch_forward(logits: Tensor, value: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the output and the tensors for the backward pass: the log-sum-exp of each row, and ``rstd``."""
    lse, squares = softmax_statistics(logits)
    out, rstd = forward(logits, lse, squares, value, eps)
    return out, lse, rstd


def launch_backward(outputs: Sequence[Tensor], grads: Sequence[Tensor], *, logits: Tensor, value: Tensor,
                    eps: float) -> dict[str, Tensor]:
    """Returns the gradients by argument name."""
    (_, lse, rstd), (grad, ) = outputs, grads
    of_value, products = grad_value(logits, lse, rstd, value, grad)
    return dict(logits=grad_logits(logits, lse, rstd, products, value, grad), value=of_value)


run = differentiable(launch_forward, launch_backward)
