"""Triton kernels of :func:`mmvit_backbones.ops.varied_size_window.varied_size_window_attention`.

Each program processes one window of one head, and holds the sampled keys and values in registers. With
``S = softmax_scale Q K^T + bias`` and the log-sum-exp ``lse`` of each query, the backward pass computes::

    P = exp(S - lse),  dP = dO V^T,  dS = P * (dP - sum over keys of P * dP)
    dQ = softmax_scale dS K,   dK = softmax_scale dS^T Q,   dV = P^T dO

dK and dV are the gradients of the sampled tokens, stored as maps ``(B, heads, d, nh * ws, nw * ws)``. From these maps,
:func:`.window_sampling.grad_pixels` computes the gradients of the pixels. Query, key and value may have any strides.
All other maps are stored as in :mod:`.window_sampling`.
"""
from collections.abc import Sequence

import torch
import triton.language as tl
from torch import Tensor

from ..precision import product_dtype
from .autograd import differentiable
from .blocks import dot, load_rows, store_rows
from .launch import block_of, jit, kernel_operator, matmul_precision, with_strides
from .window_sampling import (
    empty_map,
    find_place,
    find_window,
    grad_pixels,
    grad_scale_offset,
    launch_windows,
    load_pixels,
    positions,
    sample_both,
    store_pixels,
    stored,
    stored_head,
    strided_head,
)


@jit
def _queries(token, row, column, top, left, size, WINDOW: tl.constexpr):
    """Returns rows and columns of the pixels of a fixed window, and whether they are inside the map."""
    y, x = positions(token, row, column, WINDOW)
    y, x = y - top, x - left
    return y, x, (token < WINDOW * WINDOW) & (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])


@jit
def _logits(queries, keys, bias, heads, query, token, softmax_scale, WINDOW: tl.constexpr, PRECISION: tl.constexpr):
    """Computes the logits of one head, -inf for keys beyond the window; ``bias`` points to the biases of the head."""
    side: tl.constexpr = 2 * WINDOW - 1
    index = (query // WINDOW * side + query % WINDOW)[:, None] - (token // WINDOW * side + token % WINDOW)[None, :]
    valid = (token < WINDOW * WINDOW)[None, :]
    logits = softmax_scale * dot(queries, tl.trans(keys), None, PRECISION)
    logits += tl.load(bias + (index + (WINDOW - 1) * (side + 1)) * heads,
                      mask=valid & (query < WINDOW * WINDOW)[:, None], other=0.)
    return tl.where(valid, logits, -float('inf'))


@jit
def _store_table(table, block, query, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr):
    """Stores the gradient of the bias table that comes from a block of logits.

    Each query has at most one key per entry of the table. The gradient of an entry is therefore a sum over queries.
    """
    side: tl.constexpr = 2 * WINDOW - 1
    for first in range(0, side * side, BLOCK_N):
        entry = first + tl.arange(0, BLOCK_N)
        y = (query // WINDOW + WINDOW - 1)[:, None] - (entry // side)[None, :]
        x = (query % WINDOW + WINDOW - 1)[:, None] - (entry % side)[None, :]
        found = (y >= 0) & (y < WINDOW) & (x >= 0) & (x < WINDOW) & (query < WINDOW * WINDOW)[:, None]
        gathered = tl.where(found, tl.gather(block, tl.where(found, y * WINDOW + x, 0), 1), 0.)
        tl.store(table + entry, tl.sum(gathered, 0), mask=entry < side * side)


@jit
def _attention_kernel(q, q_b, q_h, q_d, q_y, q_x, k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x, scale, offset,
                      bias, out, lse, softmax_scale, heads, height, width, rows, columns, top, left, d: tl.constexpr,
                      WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    q = strided_head(q, q_b, q_h, q_d, q_y, q_x, image, head)
    k = strided_head(k, k_b, k_h, k_d, k_y, k_x, image, head)
    v = strided_head(v, v_b, v_h, v_d, v_y, v_x, image, head)
    size, channels, token = (height, width, d), tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    y, x, valid = _queries(token, row, column, top, left, size, WINDOW)
    queries = load_pixels(q, y, x, valid, channels, d)
    keys, values = sample_both(k, v, place, token, channels, size, WINDOW)
    logits = _logits(queries, keys, bias + head, heads, token, token, softmax_scale, WINDOW, PRECISION)
    highest = tl.max(logits, 1)
    attn = tl.exp(logits - highest[:, None])
    total = tl.sum(attn, 1)
    store_rows(lse, 0, token, WINDOW * WINDOW, highest + tl.log(total))
    result = dot(attn.to(values.dtype), values, None, PRECISION) / total[:, None]
    store_pixels(stored_head(out, image, head, heads, height, width, d), y, x, valid, channels, d, result)


@jit
def _grad_kernel(q, q_b, q_h, q_d, q_y, q_x, k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x, grad, scale,
                 offset, bias, lse, grad_q, tokens, table, images, softmax_scale, heads, height, width, rows, columns,
                 top, left, d: tl.constexpr, WINDOW: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
                 BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Computes the gradients of q, sampled keys and values, and biases, a block of queries at a time."""
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    q = strided_head(q, q_b, q_h, q_d, q_y, q_x, image, head)
    k = strided_head(k, k_b, k_h, k_d, k_y, k_x, image, head)
    v = strided_head(v, v_b, v_h, v_d, v_y, v_x, image, head)
    size, channels, token = (height, width, d), tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_N)
    grad_q = stored_head(grad_q, image, head, heads, height, width, d)
    side: tl.constexpr = 2 * WINDOW - 1
    table += tl.program_id(0).to(tl.int64) * (side * side)
    keys, values = sample_both(k, v, place, token, channels, size, WINDOW)
    for_key, for_value = tl.zeros((BLOCK_N, BLOCK_D), tl.float32), tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, BLOCK_N, BLOCK_M):
        query = first + tl.arange(0, BLOCK_M)
        y, x, valid = _queries(query, row, column, top, left, size, WINDOW)
        queries = load_pixels(q, y, x, valid, channels, d)
        g = load_pixels(stored_head(grad, image, head, heads, height, width, d), y, x, valid, channels, d)
        logits = _logits(queries, keys, bias + head, heads, query, token, softmax_scale, WINDOW, PRECISION)
        row_lse = load_rows(lse, 0, query, WINDOW * WINDOW)
        attn = tl.where(valid[:, None], tl.exp(logits - row_lse[:, None]), 0.)
        for_value = dot(tl.trans(attn).to(g.dtype), g, for_value, PRECISION)
        block = dot(g, tl.trans(values), None, PRECISION)
        block = attn * (block - tl.sum(attn * block, 1)[:, None])
        _store_table(table, block, query, WINDOW, BLOCK_N)
        table += tl.num_programs(0).to(tl.int64) * (side * side)
        block = block.to(queries.dtype)
        store_pixels(grad_q, y, x, valid, channels, d, softmax_scale * dot(block, keys, None, PRECISION))
        for_key = dot(tl.trans(block), queries, for_key, PRECISION)
    grad_k = stored_head(tokens, image, head, heads, rows * WINDOW, columns * WINDOW, d)
    grad_v = stored_head(tokens, image + images, head, heads, rows * WINDOW, columns * WINDOW, d)
    y, x = positions(token, row, column, WINDOW)
    store_pixels(grad_k, y, x, token < WINDOW * WINDOW, channels, d, softmax_scale * for_key)
    store_pixels(grad_v, y, x, token < WINDOW * WINDOW, channels, d, for_value)


@kernel_operator('window_attention')
def attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int,
              top: int, left: int, softmax_scale: float) -> tuple[Tensor, Tensor]:
    """Returns the output and the log-sum-exp of each query, ``(B, nh, nw, heads, window_size ** 2)``."""
    (b, heads), (rows, columns) = q.shape[:2], scale.shape[3:]
    out, lse = empty_map(q, *q.shape), scale.new_empty((b, rows, columns, heads, window_size**2))
    arguments = *with_strides(q, k, v), scale, offset, bias_table, out, lse, softmax_scale
    launch_windows(_attention_kernel, scale.numel() // 2, arguments, q, scale, window_size, top, left,
                   BLOCK_N=block_of(window_size**2), PRECISION=matmul_precision(q.dtype))
    return out, lse


@kernel_operator('window_attention_grad')
def grad(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor, lse: Tensor,
         window_size: int, top: int, left: int,
         softmax_scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of q, of sampled keys and values, and parts of that of the bias table.

    The gradient of the bias table is the sum over the first two dimensions of ``(blocks, windows, heads, entries)``,
    with one part for each block of queries of a window. The gradients of sampled keys and values are one tensor in
    float32, ``(2, B, heads, d, nh * window_size, nw * window_size)``. ``grad`` must have the layout of
    :func:`.window_sampling.stored`.
    """
    (b, heads), (rows, columns) = q.shape[:2], scale.shape[3:]
    grad_q = empty_map(q, *q.shape)
    tokens = empty_map(q, 2, *q.shape[:3], rows * window_size, columns * window_size, dtype=scale.dtype)
    block = block_of(window_size**2)
    # Matrix products without tensor cores hold whole rows of both factors in registers. Larger blocks would spill them.
    block_m = 16 if q.dtype == torch.float32 else block
    tables = scale.new_empty((block // block_m, b * rows * columns, heads, (2 * window_size - 1)**2))
    arguments = (*with_strides(q, k, v), grad, scale, offset, bias_table, lse, grad_q, tokens, tables, b,
                 softmax_scale)
    launch_windows(_grad_kernel, scale.numel() // 2, arguments, q, scale, window_size, top, left,
                   BLOCK_M=block_m, BLOCK_N=block, PRECISION=matmul_precision(q.dtype))
    return grad_q, tokens, tables


def launch_forward(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                   window_size: int, top: int, left: int, softmax_scale: float) -> tuple[Tensor, Tensor]:
    return attention(q, k, v, scale, offset, bias_table, window_size, top, left, softmax_scale)


def launch_backward(outputs: Sequence[Tensor], grads: Sequence[Tensor], *, q: Tensor, k: Tensor, v: Tensor,
                    scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int, top: int, left: int,
                    softmax_scale: float) -> dict[str, Tensor]:
    """Returns the gradients by argument name."""
    (_, lse), (grad_out, ) = outputs, grads
    window = window_size, top, left
    grad_q, tokens, tables = grad(stored(grad_out), q, k, v, scale, offset, bias_table, lse, *window, softmax_scale)
    grad_scale, grad_offset = grad_scale_offset(k, v, tokens, scale, offset, *window)
    height, width = q.shape[3:]
    grad_k, grad_v = grad_pixels(tokens, scale, offset, height, width, *window, q.dtype).unbind(0)
    return dict(q=grad_q, k=grad_k, v=grad_v, scale=grad_scale, offset=grad_offset, bias_table=tables.sum((0, 1)).T)


attend = differentiable(launch_forward, launch_backward)


def run(q: Tensor, k: Tensor, v: Tensor, **others) -> Tensor:
    """Returns the output. Under autocast, q, k and v are converted to the autocast dtype."""
    q, k, v = (x.to(product_dtype(x)) for x in (q, k, v))
    return attend(q=q, k=k, v=v, **others)
