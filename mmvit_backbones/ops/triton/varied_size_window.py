"""Triton kernels of :func:`mmvit_backbones.ops.varied_size_window.varied_size_window_attention`.

Keys and values are sampled in registers, as the attention needs them. Backward, with ``S = softmax_scale Q K^T + bias``
and the log-sum-exp of every query::

    P = exp(S - lse),  dP = dO V^T,  dS = P * (dP - sum over keys of P * dP)
    dQ = softmax_scale dS K,   dK = softmax_scale dS^T Q,   dV = P^T dO

dK and dV belong to tokens between pixels. They are written once, as maps of tokens ``(B, heads, d, nh * ws, nw * ws)``,
from which :func:`.window_sampling.grad_pixels` gathers. Query, key and value have the same strides, as views of one
projection do; else all is as in :mod:`.window_sampling`.
"""
import torch
import triton
import triton.language as tl
from torch import Tensor

from .blocks import dot, load_rows, store_rows
from .launch import kernel_operator, precision_of
from .window_sampling import (
    FEW,
    add_slopes,
    empty_map,
    find_place,
    find_window,
    launch_windows,
    load_pixels,
    num_blocks,
    positions,
    sample_both,
    store_pixels,
    store_slopes,
    stored_head,
    strided_head,
)


@triton.jit
def _queries(token, row, column, top, left, size, WINDOW: tl.constexpr):
    """Pixels of the tokens of a fixed window, and whether they are on the map."""
    y, x = positions(token, row, column, WINDOW)
    y, x = y - top, x - left
    return y, x, (token < WINDOW * WINDOW) & (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])


@triton.jit
def _logits(queries, keys, bias, heads, query, token, softmax_scale, WINDOW: tl.constexpr, PRECISION: tl.constexpr):
    """A block of the logits of one head, whose biases begin at ``bias``."""
    side: tl.constexpr = 2 * WINDOW - 1
    before = query // WINDOW * side + query % WINDOW + (WINDOW - 1) * (side + 1)
    index = before[:, None] - (token // WINDOW * side + token % WINDOW)[None, :]
    inside = (query < WINDOW * WINDOW)[:, None] & (token < WINDOW * WINDOW)[None, :]
    logits = softmax_scale * dot(queries, tl.trans(keys), None, PRECISION)
    return logits + tl.load(bias + index * heads, mask=inside, other=0.)


@triton.jit
def _attend(queries, g, keys, values, bias, heads, query, token, row_lse, valid, softmax_scale, WINDOW: tl.constexpr,
            PRECISION: tl.constexpr):
    """A block of the softmax map, zero outside of the map and the window, and of its gradient."""
    logits = _logits(queries, keys, bias, heads, query, token, softmax_scale, WINDOW, PRECISION)
    inside = valid[:, None] & (token < WINDOW * WINDOW)[None, :]
    return tl.where(inside, tl.exp(logits - row_lse[:, None]), 0.), dot(g, tl.trans(values), None, PRECISION)


@triton.jit
def _add_to_table(table, block, queries, key, WHOLE: tl.constexpr, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr):
    """Adds the gradient of a block of logits to the program's own copy of the table of biases.

    A query has at most one key for each entry of the table, so what an entry receives is a column of gathered logits.
    """
    side: tl.constexpr = 2 * WINDOW - 1
    for first in range(0, side * side, BLOCK_N):
        entry = first + tl.arange(0, BLOCK_N)
        y = (queries // WINDOW + WINDOW - 1)[:, None] - (entry // side)[None, :]
        x = (queries % WINDOW + WINDOW - 1)[:, None] - (entry % side)[None, :]
        index = y * WINDOW + x - key
        found = (y >= 0) & (y < WINDOW) & (x >= 0) & (x < WINDOW) & (index >= 0) & (index < BLOCK_N)
        found = found & (queries < WINDOW * WINDOW)[:, None]
        gathered = tl.where(found, tl.gather(block, tl.where(found, index, 0), 1), 0.)
        if WHOLE:
            tl.store(table + entry, tl.sum(gathered, 0), mask=entry < side * side)
        else:  # nobody else adds here: the order of additions is that of the program
            tl.atomic_add(table + entry, tl.sum(gathered, 0), mask=entry < side * side)


@triton.jit
def _attention_kernel(q, k, v, x_b, x_h, x_d, x_y, x_x, scale, offset, bias, out, lse, softmax_scale, heads, height,
                      width, rows, columns, top, left, d, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr,
                      BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    q = strided_head(q, x_b, x_h, x_d, x_y, x_x, image, head)
    k = strided_head(k, x_b, x_h, x_d, x_y, x_x, image, head)
    v = strided_head(v, x_b, x_h, x_d, x_y, x_x, image, head)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    query = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    y, x, valid = _queries(query, row, column, top, left, size, WINDOW)
    queries = load_pixels(q, y, x, valid, channels, d)
    highest = tl.full((BLOCK_N,), -float('inf'), tl.float32)
    total = tl.zeros((BLOCK_N,), tl.float32)
    result = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        token = first + tl.arange(0, BLOCK_N)
        keys, values = sample_both(k, v, place, token, channels, size, WINDOW)
        logits = _logits(queries, keys, bias + head, heads, query, token, softmax_scale, WINDOW, PRECISION)
        logits = tl.where((token < WINDOW * WINDOW)[None, :], logits, -float('inf'))
        new_highest = tl.maximum(highest, tl.max(logits, 1))
        attn = tl.exp(logits - new_highest[:, None])
        shrink = tl.exp(highest - new_highest)
        total = total * shrink + tl.sum(attn, 1)
        result = dot(attn.to(values.dtype), values, result * shrink[:, None], PRECISION)
        highest = new_highest
    store_rows(lse, 0, query, WINDOW * WINDOW, highest + tl.log(total))
    out = stored_head(out, image, head, heads, height, width, d)
    store_pixels(out, y, x, valid, channels, d, result / total[:, None])


@triton.jit
def _rows_kernel(q, k, v, x_b, x_h, x_d, x_y, x_x, grad, scale, offset, bias, lse, grad_q, delta, softmax_scale, heads,
                 height, width, rows, columns, top, left, d, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr,
                 BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Of windows of several blocks: the gradient of q, and the sums over keys of ``P * dP``."""
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    q = strided_head(q, x_b, x_h, x_d, x_y, x_x, image, head)
    k = strided_head(k, x_b, x_h, x_d, x_y, x_x, image, head)
    v = strided_head(v, x_b, x_h, x_d, x_y, x_x, image, head)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    query = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    y, x, valid = _queries(query, row, column, top, left, size, WINDOW)
    queries = load_pixels(q, y, x, valid, channels, d)
    g = load_pixels(stored_head(grad, image, head, heads, height, width, d), y, x, valid, channels, d)
    bias += head
    row_lse = load_rows(lse, 0, query, WINDOW * WINDOW)
    row_sum = tl.zeros((BLOCK_N,), tl.float32)
    result = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for sweep in tl.static_range(2):  # the first finds the sums of rows
        for first in range(0, WINDOW * WINDOW, BLOCK_N):
            token = first + tl.arange(0, BLOCK_N)
            keys, values = sample_both(k, v, place, token, channels, size, WINDOW)
            attn, grad_attn = _attend(queries, g, keys, values, bias, heads, query, token, row_lse, valid,
                                      softmax_scale, WINDOW, PRECISION)
            if sweep == 0:
                row_sum += tl.sum(attn * grad_attn, 1)
            else:
                result = dot((attn * (grad_attn - row_sum[:, None])).to(keys.dtype), keys, result, PRECISION)
    store_rows(delta, 0, query, WINDOW * WINDOW, row_sum)
    grad_q = stored_head(grad_q, image, head, heads, height, width, d)
    store_pixels(grad_q, y, x, valid, channels, d, softmax_scale * result)


@triton.jit
def _windows_kernel(q, k, v, x_b, x_h, x_d, x_y, x_x, grad, scale, offset, bias, lse, delta, grad_q, tokens, grad_scale,
                    grad_offset, table, images, softmax_scale, heads, height, width, rows, columns, top, left, d,
                    WHOLE: tl.constexpr, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
                    PRECISION: tl.constexpr):
    """Gradients of sampled keys and values, of scale and offset, of biases, and of q if the window is one block."""
    image, row, column, head, index = find_window(heads, rows, columns)
    place = find_place(scale, offset, index, row, column, rows, columns, top, left, WINDOW)
    q = strided_head(q, x_b, x_h, x_d, x_y, x_x, image, head)
    k = strided_head(k, x_b, x_h, x_d, x_y, x_x, image, head)
    v = strided_head(v, x_b, x_h, x_d, x_y, x_x, image, head)
    grad = stored_head(grad, image, head, heads, height, width, d)
    grad_q = stored_head(grad_q, image, head, heads, height, width, d)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    bias += head
    program = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    table += program * ((2 * WINDOW - 1) * (2 * WINDOW - 1))
    key = tl.program_id(1) * BLOCK_N
    token = key + tl.arange(0, BLOCK_N)
    keys, values = sample_both(k, v, place, token, channels, size, WINDOW)
    for_key = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for_value = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        query = first + tl.arange(0, BLOCK_N)
        y, x, valid = _queries(query, row, column, top, left, size, WINDOW)
        queries, g = load_pixels(q, y, x, valid, channels, d), load_pixels(grad, y, x, valid, channels, d)
        row_lse = load_rows(lse, 0, query, WINDOW * WINDOW)
        attn, block = _attend(queries, g, keys, values, bias, heads, query, token, row_lse, valid, softmax_scale,
                              WINDOW, PRECISION)
        for_value = dot(tl.trans(attn).to(g.dtype), g, for_value, PRECISION)
        if WHOLE:
            row_sum = tl.sum(attn * block, 1)
        else:
            row_sum = load_rows(delta, 0, query, WINDOW * WINDOW)
        block = attn * (block - row_sum[:, None])
        _add_to_table(table, block, query, key, WHOLE, WINDOW, BLOCK_N)
        block = block.to(queries.dtype)
        for_key = dot(tl.trans(block), queries, for_key, PRECISION)
        if WHOLE:
            store_pixels(grad_q, y, x, valid, channels, d, softmax_scale * dot(block, keys, None, PRECISION))
    grad_k = stored_head(tokens, image, head, heads, rows * WINDOW, columns * WINDOW, d)
    grad_v = stored_head(tokens, image + images, head, heads, rows * WINDOW, columns * WINDOW, d)
    y, x = positions(token, row, column, WINDOW)
    valid = token < WINDOW * WINDOW
    store_pixels(grad_k, y, x, valid, channels, d, softmax_scale * for_key)
    store_pixels(grad_v, y, x, valid, channels, d, for_value)
    tl.debug_barrier()  # what the program wrote, it reads
    zero = tl.zeros((FEW,), tl.float32)
    sums = add_slopes(k, grad_k, place, row, column, channels, size, (zero, zero, zero, zero), WINDOW, BLOCK_N)
    sums = add_slopes(v, grad_v, place, row, column, channels, size, sums, WINDOW, BLOCK_N)
    store_slopes(grad_scale, grad_offset, index, rows * columns, sums)


@kernel_operator('window_attention')
def attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int,
              top: int, left: int, softmax_scale: float) -> tuple[Tensor, Tensor]:
    """Output, and the log-sum-exp of every query ``(B, nh, nw, heads, window_size ** 2)``."""
    (b, heads), (rows, columns) = q.shape[:2], scale.shape[3:]
    out, lse = empty_map(q, *q.shape), scale.new_empty((b, rows, columns, heads, window_size**2))
    arguments = q, k, v, *q.stride(), scale, offset, bias_table, out, lse, softmax_scale
    launch_windows(_attention_kernel, arguments, q, scale, window_size, top, left, PRECISION=precision_of(q))
    return out, lse


@kernel_operator('window_attention_rows', mutates_args=('grad_q', ))
def grad_rows(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
              lse: Tensor, grad_q: Tensor, window_size: int, top: int, left: int, softmax_scale: float) -> Tensor:
    """Writes the gradient of q, and returns the sums of ``P * dP``. ``grad`` and ``grad_q`` are stored."""
    delta = torch.empty_like(lse)
    arguments = q, k, v, *q.stride(), grad, scale, offset, bias_table, lse, grad_q, delta, softmax_scale
    launch_windows(_rows_kernel, arguments, q, scale, window_size, top, left, PRECISION=precision_of(q))
    return delta


@kernel_operator('window_attention_windows', mutates_args=('grad_q', ))
def grad_windows(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                 lse: Tensor, grad_q: Tensor, delta: Tensor | None, window_size: int, top: int, left: int,
                 softmax_scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of sampled keys and values ``(2, B, heads, d, nh * window_size, nw * window_size)``; those of scale, of
    offset and of the table of biases, in parts. ``delta`` is what :func:`grad_rows` returned; it is None where windows
    are one block, and the gradient of q is written here."""
    (b, heads), (rows, columns), blocks = q.shape[:2], scale.shape[3:], num_blocks(window_size)
    tokens = empty_map(q, 2, *q.shape[:3], rows * window_size, columns * window_size)
    grad_scale, grad_offset = (scale.new_empty((blocks, *scale.shape)) for _ in range(2))
    tables = (scale.new_empty if delta is None else scale.new_zeros)(
        (b * rows * columns, heads, blocks, (2 * window_size - 1)**2))
    arguments = (q, k, v, *q.stride(), grad, scale, offset, bias_table, lse, lse if delta is None else delta, grad_q,
                 tokens, grad_scale, grad_offset, tables, b, softmax_scale)
    launch_windows(_windows_kernel, arguments, q, scale, window_size, top, left, WHOLE=delta is None,
                   PRECISION=precision_of(q))
    return tokens, grad_scale, grad_offset, tables
