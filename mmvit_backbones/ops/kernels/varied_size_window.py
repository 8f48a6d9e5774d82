"""Triton kernels of :mod:`mmvit_backbones.ops.varied_size_window`.

Keys and values are sampled in registers, as the attention needs them. Backward, with ``S = softmax_scale Q K^T + bias``
and the log-sum-exp of every query::

    P = exp(S - lse),  dP = dO V^T,  dS = P * (dP - sum over keys of P * dP)
    dQ = softmax_scale dS K,   dK = softmax_scale dS^T Q,   dV = P^T dO

dK and dV belong to tokens between pixels. They are written once, as maps of tokens ``(B, heads, d, nh * ws, nw * ws)``,
and every pixel then gathers from the windows that reach it, in their order: no atomic additions, and the same bits in
every run. A pixel at distance ``a < 1`` along x and ``b < 1`` along y from a token has the weight ``(1 - a) (1 - b)``,
which is bilinear interpolation read backwards.

A program has one window of one head and a block of its tokens; ``_pixels_kernel`` a tile of the map. Maps are
``(B, heads, d, H, W)`` with any strides, windows ``(B, nh, nw, heads)`` with the last fastest.
"""
from collections.abc import Callable, Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends import block_of, kernel_operator, launch, precision_of
from .blocks import dot

BLOCK = 64  # tokens; windows of up to 8 x 8 are one block
FEW = tl.constexpr(16)  # tokens, one after the other where a whole block takes too many registers
TILE = tl.constexpr(8)  # pixels along a side


@triton.jit
def _map(x, x_b, x_h, x_d, x_y, x_x, image, head):
    """A map of one head: where it begins, and its strides."""
    return x + image.to(tl.int64) * x_b + head.to(tl.int64) * x_h, x_d, x_y, x_x


@triton.jit
def _at(x, row, column, channels):
    first, x_d, x_y, x_x = x
    return (first + row.to(tl.int64) * x_y + column.to(tl.int64) * x_x)[:, None] + (channels * x_d)[None, :]


@triton.jit
def _load(x, row, column, valid, channels, d):
    """Pixels of a map, ``(tokens, channels)``; 0 for tokens that are not valid."""
    return tl.load(_at(x, row, column, channels), mask=valid[:, None] & (channels < d)[None, :], other=0.)


@triton.jit
def _store(x, row, column, valid, channels, d, block):
    tl.store(_at(x, row, column, channels), block.to(x[0].dtype.element_ty),
             mask=valid[:, None] & (channels < d)[None, :])


@triton.jit
def _axis(scale, offset, index, window, pad, WINDOW: tl.constexpr):
    """Middle of a window along an axis, and the distance of its tokens, in pixels."""
    center = (window * WINDOW - pad).to(tl.float32) + (WINDOW - 1) / 2
    return center + tl.load(offset + index), 1 + tl.load(scale + index)


@triton.jit
def _place(scale, offset, image, row, column, head, heads, rows, columns, top, left, WINDOW: tl.constexpr):
    """``_axis`` of y and of x, and the index of the window's parameters for x; those for y follow a grid later."""
    index = ((image.to(tl.int64) * heads + head) * 2 * rows + row) * columns + column
    y, spacing_y = _axis(scale, offset, index + rows * columns, row, top, WINDOW)
    x, spacing_x = _axis(scale, offset, index, column, left, WINDOW)
    return (y, spacing_y, x, spacing_x), index


@triton.jit
def _window(scale, offset, heads, rows, columns, top, left, WINDOW: tl.constexpr):
    """The program's window: image, row, column, head, and ``_place``."""
    window = tl.program_id(0)
    image, row = window // heads // columns // rows, window // heads // columns % rows
    column, head = window // heads % columns, window % heads
    place, index = _place(scale, offset, image, row, column, head, heads, rows, columns, top, left, WINDOW)
    return image, row, column, head, place, index


@triton.jit
def _distance(token, WINDOW: tl.constexpr):
    """Of tokens from the middle of their window, in tokens, along y and x."""
    return (token // WINDOW).to(tl.float32) - (WINDOW - 1) / 2, (token % WINDOW).to(tl.float32) - (WINDOW - 1) / 2


@triton.jit
def _tap(position, size):
    """The pixel before a position and how far behind it is; -2 for what is outside or not finite."""
    near = (position > -1) & (position < size)
    low = tl.floor(tl.where(near, position, -2.))
    return low.to(tl.int32), tl.where(near, position - low, 0.)


@triton.jit
def _taps(place, token, size, WINDOW: tl.constexpr):
    """``_tap`` of tokens along y and x."""
    y, spacing_y, x, spacing_x = place
    distance_y, distance_x = _distance(token, WINDOW)
    row, fy = _tap(y + spacing_y * distance_y, size[0])
    column, fx = _tap(x + spacing_x * distance_x, size[1])
    return row, fy, column, fx


@triton.jit
def _corner(x, row, column, valid, channels, size):
    """A pixel of every token, in float32; 0 outside of the map. ``size`` is height, width and channels."""
    height, width, d = size
    inside = valid & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return _load(x, row, column, inside, channels, d).to(tl.float32)


@triton.jit
def _sample(x, taps, valid, channels, size):
    """Bilinear interpolation."""
    row, fy, column, fx = taps
    total = ((1 - fy) * (1 - fx))[:, None] * _corner(x, row, column, valid, channels, size)
    total += ((1 - fy) * fx)[:, None] * _corner(x, row, column + 1, valid, channels, size)
    total += (fy * (1 - fx))[:, None] * _corner(x, row + 1, column, valid, channels, size)
    return total + (fy * fx)[:, None] * _corner(x, row + 1, column + 1, valid, channels, size)


@triton.jit
def _keys_and_values(k, v, place, token, channels, size, WINDOW: tl.constexpr):
    """What tokens sample, in the dtype of the maps."""
    taps, valid = _taps(place, token, size, WINDOW), token < WINDOW * WINDOW
    keys = _sample(k, taps, valid, channels, size).to(k[0].dtype.element_ty)
    return keys, _sample(v, taps, valid, channels, size).to(v[0].dtype.element_ty)


@triton.jit
def _slopes(x, taps, valid, channels, size, grad):
    """What the positions of tokens receive, along y and x, from the gradients of what they sampled."""
    row, fy, column, fx = taps
    a = tl.sum(_corner(x, row, column, valid, channels, size) * grad, 1)
    b = tl.sum(_corner(x, row, column + 1, valid, channels, size) * grad, 1)
    y, x_slope = -(1 - fx) * a - fx * b, (1 - fy) * (b - a)
    a = tl.sum(_corner(x, row + 1, column, valid, channels, size) * grad, 1)
    b = tl.sum(_corner(x, row + 1, column + 1, valid, channels, size) * grad, 1)
    return y + (1 - fx) * a + fx * b, x_slope + fy * (b - a)


@triton.jit
def _add_slopes(x, grad, place, row, column, channels, size, sums, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr):
    """Adds what scale and offset of a window receive for a block of tokens, few at a time to spare registers.

    ``sums`` are those of offset and scale along y, then along x, for each of ``FEW`` tokens.
    """
    offset_y, scale_y, offset_x, scale_x = sums
    for first in range(0, BLOCK_N, FEW):
        token = tl.program_id(1) * BLOCK_N + first + tl.arange(0, FEW)
        valid = token < WINDOW * WINDOW
        g = _load(grad, row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW, valid, channels, size[2])
        along_y, along_x = _slopes(x, _taps(place, token, size, WINDOW), valid, channels, size, g.to(tl.float32))
        distance_y, distance_x = _distance(token, WINDOW)
        offset_y += along_y
        scale_y += along_y * distance_y
        offset_x += along_x
        scale_x += along_x * distance_x
    return offset_y, scale_y, offset_x, scale_x


@triton.jit
def _store_slopes(grad_scale, grad_offset, index, next_axis, sums):
    offset_y, scale_y, offset_x, scale_x = sums
    index += tl.program_id(1) * (tl.cast(tl.num_programs(0), tl.int64) * 2)  # a part for each block of tokens
    tl.store(grad_scale + index, tl.sum(scale_x))
    tl.store(grad_scale + index + next_axis, tl.sum(scale_y))
    tl.store(grad_offset + index, tl.sum(offset_x))
    tl.store(grad_offset + index + next_axis, tl.sum(offset_y))


@triton.jit
def _queries(token, row, column, top, left, size, WINDOW: tl.constexpr):
    """Pixels of the tokens of a fixed window, and whether they are on the map."""
    y, x = row * WINDOW + token // WINDOW - top, column * WINDOW + token % WINDOW - left
    return y, x, (token < WINDOW * WINDOW) & (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])


@triton.jit
def _logits(queries, keys, bias, bias_r, query, token, softmax_scale, WINDOW: tl.constexpr, PRECISION: tl.constexpr):
    """A block of the logits of one head, whose biases begin at ``bias``."""
    side: tl.constexpr = 2 * WINDOW - 1
    before = query // WINDOW * side + query % WINDOW + (WINDOW - 1) * (side + 1)
    index = before[:, None] - (token // WINDOW * side + token % WINDOW)[None, :]
    inside = (query < WINDOW * WINDOW)[:, None] & (token < WINDOW * WINDOW)[None, :]
    logits = softmax_scale * dot(queries, tl.trans(keys), None, PRECISION)
    return logits + tl.load(bias + index * bias_r, mask=inside, other=0.)


@triton.jit
def _attend(queries, g, keys, values, bias, bias_r, query, token, row_lse, valid, softmax_scale, WINDOW: tl.constexpr,
            PRECISION: tl.constexpr):
    """A block of the softmax map, zero outside of the map and the window, and of its gradient."""
    logits = _logits(queries, keys, bias, bias_r, query, token, softmax_scale, WINDOW, PRECISION)
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
def _sample_kernel(features, f_b, f_h, f_d, f_y, f_x, scale, offset, out, o_b, o_h, o_d, o_y, o_x, heads, height, width,
                   rows, columns, top, left, d, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    image, row, column, head, place, _ = _window(scale, offset, heads, rows, columns, top, left, WINDOW)
    features = _map(features, f_b, f_h, f_d, f_y, f_x, image, head)
    out = _map(out, o_b, o_h, o_d, o_y, o_x, image, head)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    for first in range(0, BLOCK_N, FEW):
        token = tl.program_id(1) * BLOCK_N + first + tl.arange(0, FEW)
        valid = token < WINDOW * WINDOW
        result = _sample(features, _taps(place, token, size, WINDOW), valid, channels, size)
        _store(out, row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW, valid, channels, d, result)


@triton.jit
def _slopes_kernel(features, f_b, f_h, f_d, f_y, f_x, grad, g_b, g_h, g_d, g_y, g_x, scale, offset, grad_scale,
                   grad_offset, heads, height, width, rows, columns, top, left, d,
                   WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    """Gradients of scale and offset, from those of sampled features."""
    image, row, column, head, place, index = _window(scale, offset, heads, rows, columns, top, left, WINDOW)
    features = _map(features, f_b, f_h, f_d, f_y, f_x, image, head)
    grad = _map(grad, g_b, g_h, g_d, g_y, g_x, image, head)
    zero = tl.zeros((FEW,), tl.float32)
    sums = _add_slopes(features, grad, place, row, column, tl.arange(0, BLOCK_D), (height, width, d),
                       (zero, zero, zero, zero), WINDOW, BLOCK_N)
    _store_slopes(grad_scale, grad_offset, index, rows * columns, sums)


@triton.jit
def _attention_kernel(q, q_b, q_h, q_d, q_y, q_x, k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x, scale, offset,
                      bias, bias_r, bias_h, out, o_b, o_h, o_d, o_y, o_x, lse, softmax_scale, heads, height, width,
                      rows, columns, top, left, d, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
                      PRECISION: tl.constexpr):
    image, row, column, head, place, _ = _window(scale, offset, heads, rows, columns, top, left, WINDOW)
    k, v = _map(k, k_b, k_h, k_d, k_y, k_x, image, head), _map(v, v_b, v_h, v_d, v_y, v_x, image, head)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    query = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    y, x, valid = _queries(query, row, column, top, left, size, WINDOW)
    queries = _load(_map(q, q_b, q_h, q_d, q_y, q_x, image, head), y, x, valid, channels, d)
    highest = tl.full((BLOCK_N,), -float('inf'), tl.float32)
    total = tl.zeros((BLOCK_N,), tl.float32)
    result = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        token = first + tl.arange(0, BLOCK_N)
        keys, values = _keys_and_values(k, v, place, token, channels, size, WINDOW)
        logits = _logits(queries, keys, bias + head * bias_h, bias_r, query, token, softmax_scale, WINDOW, PRECISION)
        logits = tl.where((token < WINDOW * WINDOW)[None, :], logits, -float('inf'))
        new_highest = tl.maximum(highest, tl.max(logits, 1))
        attn = tl.exp(logits - new_highest[:, None])
        shrink = tl.exp(highest - new_highest)
        total = total * shrink + tl.sum(attn, 1)
        result = dot(attn.to(values.dtype), values, result * shrink[:, None], PRECISION)
        highest = new_highest
    tl.store(lse + tl.program_id(0).to(tl.int64) * (WINDOW * WINDOW) + query, highest + tl.log(total),
             mask=query < WINDOW * WINDOW)
    _store(_map(out, o_b, o_h, o_d, o_y, o_x, image, head), y, x, valid, channels, d, result / total[:, None])


@triton.jit
def _rows_kernel(q, q_b, q_h, q_d, q_y, q_x, k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x,
                 grad, g_b, g_h, g_d, g_y, g_x, scale, offset, bias, bias_r, bias_h, lse,
                 grad_q, o_b, o_h, o_d, o_y, o_x, delta, softmax_scale, heads, height, width, rows, columns, top, left,
                 d, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Of windows of several blocks: the gradient of q, and the sums over keys of ``P * dP``."""
    image, row, column, head, place, _ = _window(scale, offset, heads, rows, columns, top, left, WINDOW)
    k, v = _map(k, k_b, k_h, k_d, k_y, k_x, image, head), _map(v, v_b, v_h, v_d, v_y, v_x, image, head)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    query = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    y, x, valid = _queries(query, row, column, top, left, size, WINDOW)
    queries = _load(_map(q, q_b, q_h, q_d, q_y, q_x, image, head), y, x, valid, channels, d)
    g = _load(_map(grad, g_b, g_h, g_d, g_y, g_x, image, head), y, x, valid, channels, d)
    bias += head * bias_h
    at = tl.program_id(0).to(tl.int64) * (WINDOW * WINDOW) + query
    row_lse = tl.load(lse + at, mask=query < WINDOW * WINDOW, other=0.)
    row_sum = tl.zeros((BLOCK_N,), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        token = first + tl.arange(0, BLOCK_N)
        keys, values = _keys_and_values(k, v, place, token, channels, size, WINDOW)
        attn, grad_attn = _attend(queries, g, keys, values, bias, bias_r, query, token, row_lse, valid, softmax_scale,
                                  WINDOW, PRECISION)
        row_sum += tl.sum(attn * grad_attn, 1)
    tl.store(delta + at, row_sum, mask=query < WINDOW * WINDOW)
    result = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        token = first + tl.arange(0, BLOCK_N)
        keys, values = _keys_and_values(k, v, place, token, channels, size, WINDOW)
        attn, grad_attn = _attend(queries, g, keys, values, bias, bias_r, query, token, row_lse, valid, softmax_scale,
                                  WINDOW, PRECISION)
        result = dot((attn * (grad_attn - row_sum[:, None])).to(keys.dtype), keys, result, PRECISION)
    _store(_map(grad_q, o_b, o_h, o_d, o_y, o_x, image, head), y, x, valid, channels, d, softmax_scale * result)


@triton.jit
def _windows_kernel(q, q_b, q_h, q_d, q_y, q_x, k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x,
                    grad, g_b, g_h, g_d, g_y, g_x, scale, offset, bias, bias_r, bias_h, lse, delta,
                    grad_q, o_b, o_h, o_d, o_y, o_x, tokens, t_p, t_b, t_h, t_d, t_y, t_x, grad_scale, grad_offset,
                    table, softmax_scale, heads, height, width, rows, columns, top, left, d, WHOLE: tl.constexpr,
                    WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Gradients of sampled keys and values, of scale and offset, of biases, and of q if the window is one block."""
    image, row, column, head, place, index = _window(scale, offset, heads, rows, columns, top, left, WINDOW)
    k, v = _map(k, k_b, k_h, k_d, k_y, k_x, image, head), _map(v, v_b, v_h, v_d, v_y, v_x, image, head)
    q, grad = _map(q, q_b, q_h, q_d, q_y, q_x, image, head), _map(grad, g_b, g_h, g_d, g_y, g_x, image, head)
    grad_q = _map(grad_q, o_b, o_h, o_d, o_y, o_x, image, head)
    size, channels = (height, width, d), tl.arange(0, BLOCK_D)
    bias += head * bias_h
    window = tl.program_id(0).to(tl.int64)
    table += (window * tl.num_programs(1) + tl.program_id(1)) * ((2 * WINDOW - 1) * (2 * WINDOW - 1))
    key = tl.program_id(1) * BLOCK_N
    token = key + tl.arange(0, BLOCK_N)
    keys, values = _keys_and_values(k, v, place, token, channels, size, WINDOW)
    for_key = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for_value = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        query = first + tl.arange(0, BLOCK_N)
        y, x, valid = _queries(query, row, column, top, left, size, WINDOW)
        queries, g = _load(q, y, x, valid, channels, d), _load(grad, y, x, valid, channels, d)
        at = window * (WINDOW * WINDOW) + query
        row_lse = tl.load(lse + at, mask=query < WINDOW * WINDOW, other=0.)
        attn, block = _attend(queries, g, keys, values, bias, bias_r, query, token, row_lse, valid, softmax_scale,
                              WINDOW, PRECISION)
        for_value = dot(tl.trans(attn).to(g.dtype), g, for_value, PRECISION)
        if WHOLE:
            row_sum = tl.sum(attn * block, 1)
        else:
            row_sum = tl.load(delta + at, mask=query < WINDOW * WINDOW, other=0.)
        block = attn * (block - row_sum[:, None])
        _add_to_table(table, block, query, key, WHOLE, WINDOW, BLOCK_N)
        block = block.to(queries.dtype)
        for_key = dot(tl.trans(block), queries, for_key, PRECISION)
        if WHOLE:
            _store(grad_q, y, x, valid, channels, d, softmax_scale * dot(block, keys, None, PRECISION))
    grad_k = _map(tokens, t_b, t_h, t_d, t_y, t_x, image, head)
    grad_v = _map(tokens + t_p, t_b, t_h, t_d, t_y, t_x, image, head)
    y, x, valid = row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW, token < WINDOW * WINDOW
    _store(grad_k, y, x, valid, channels, d, softmax_scale * for_key)
    _store(grad_v, y, x, valid, channels, d, for_value)
    tl.debug_barrier()  # what the program wrote, it reads
    zero = tl.zeros((FEW,), tl.float32)
    sums = _add_slopes(k, grad_k, place, row, column, channels, size, (zero, zero, zero, zero), WINDOW, BLOCK_N)
    sums = _add_slopes(v, grad_v, place, row, column, channels, size, sums, WINDOW, BLOCK_N)
    _store_slopes(grad_scale, grad_offset, index, rows * columns, sums)


@triton.jit
def _triangle(center, spacing, distance, pixel):
    """Weights of pixels in tokens along an axis, ``(pixels, tokens)``."""
    apart = tl.abs((center + spacing * distance)[None, :] - pixel[:, None].to(tl.float32))
    return tl.where(apart < 1, 1 - apart, 0.)


@triton.jit
def _reaches(center, spacing, first, WINDOW: tl.constexpr):
    """Whether a window has tokens within a pixel of a tile along an axis; one that is not finite may say so, too."""
    reach = tl.abs(spacing) * ((WINDOW - 1) / 2)
    return (center + reach > first - 1) & (center - reach < first + TILE)


@triton.jit
def _pixels_kernel(tokens, t_p, t_b, t_h, t_d, t_y, t_x, scale, offset, out, o_p, o_b, o_h, o_d, o_y, o_x, images,
                   tiles_y, tiles_x, heads, height, width, rows, columns, top, left, d,
                   WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Sums over tokens of their weight in a pixel times their gradient; several maps that sampled alike."""
    plane, tile = tl.program_id(0) // (tiles_y * tiles_x), tl.program_id(0) % (tiles_y * tiles_x)
    part, image, head = plane // heads // images, plane // heads % images, plane % heads
    tokens = _map(tokens + part.to(tl.int64) * t_p, t_b, t_h, t_d, t_y, t_x, image, head)
    out = _map(out + part.to(tl.int64) * o_p, o_b, o_h, o_d, o_y, o_x, image, head)
    tile_y, tile_x = tile // tiles_x * TILE, tile % tiles_x * TILE
    pixel, channels = tl.arange(0, TILE * TILE), tl.arange(0, BLOCK_D)
    pixel_y, pixel_x = tile_y + pixel // TILE, tile_x + pixel % TILE
    result = tl.zeros((TILE * TILE, BLOCK_D), tl.float32)
    for window in range(0, rows * columns):
        row, column = window // columns, window % columns
        place, _ = _place(scale, offset, image, row, column, head, heads, rows, columns, top, left, WINDOW)
        y, spacing_y, x, spacing_x = place
        if _reaches(y, spacing_y, tile_y, WINDOW) & _reaches(x, spacing_x, tile_x, WINDOW):
            for first in range(0, WINDOW * WINDOW, BLOCK_N):
                token = first + tl.arange(0, BLOCK_N)
                distance_y, distance_x = _distance(token, WINDOW)
                weight = _triangle(y, spacing_y, distance_y, pixel_y) * _triangle(x, spacing_x, distance_x, pixel_x)
                grad = _load(tokens, row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW,
                             token < WINDOW * WINDOW, channels, d)
                result = dot(weight.to(grad.dtype), grad, result, PRECISION)
    _store(out, pixel_y, pixel_x, (pixel_y < height) & (pixel_x < width), channels, d, result)


def _empty_map(like: Tensor, *shape: int) -> Tensor:
    """``(..., heads, C, H, W)``, laid out as ``(..., H, W, heads, C)``."""
    *first, heads, channels, height, width = shape
    return like.new_empty((*first, height, width, heads, channels)).movedim((-2, -1), (-4, -3))


def _block(window_size: int) -> int:
    """Tokens of a program: a whole window, or as many as registers allow where there is a loop over blocks."""
    tokens = window_size**2
    return block_of(tokens) if tokens <= BLOCK else BLOCK // 4


def _grid(scale: Tensor, window_size: int) -> tuple[int, int]:
    """Programs: windows of all heads, and blocks of their tokens."""
    b, heads, _, rows, columns = scale.shape
    return b * rows * columns * heads, triton.cdiv(window_size**2, _block(window_size))


def _launch(kernel: Callable, grid: tuple[int, ...], arguments: tuple, x: Tensor, scale: Tensor, window_size: int,
            top: int, left: int, **constants) -> None:
    """Runs a kernel on maps of the size of ``x``: all kernels have their last arguments in common."""
    launch(kernel, grid, *arguments, x.shape[-4], *x.shape[-2:], *scale.shape[3:], top, left, x.shape[-3],
           WINDOW=window_size, BLOCK_N=_block(window_size), BLOCK_D=block_of(x.shape[-3]), **constants)


def _strided(*tensors: Tensor) -> Iterator[Tensor | int]:
    """Tensors, each followed by its strides."""
    for x in tensors:
        yield from (x, *x.stride())


@kernel_operator('window_sample')
def sample(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> Tensor:
    """``(B, heads, C, nh * window_size, nw * window_size)``; scale and offset are contiguous, here and below."""
    rows, columns = scale.shape[3:]
    out = _empty_map(features, *features.shape[:3], rows * window_size, columns * window_size)
    _launch(_sample_kernel, _grid(scale, window_size), (*_strided(features), scale, offset, *_strided(out)),
            features, scale, window_size, top, left)
    return out


@kernel_operator('window_sample_slopes')
def slopes(features: Tensor, grad: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int,
           left: int) -> tuple[Tensor, Tensor]:
    """Gradients of scale and offset, a part of each for every block of tokens."""
    grid = _grid(scale, window_size)
    grad_scale, grad_offset = scale.new_empty((grid[1], *scale.shape)), scale.new_empty((grid[1], *scale.shape))
    _launch(_slopes_kernel, grid, (*_strided(features, grad), scale, offset, grad_scale, grad_offset),
            features, scale, window_size, top, left)
    return grad_scale, grad_offset


@kernel_operator('window_attention')
def attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int,
              top: int, left: int, softmax_scale: float) -> tuple[Tensor, Tensor]:
    """Output, and the log-sum-exp of every query ``(B, nh, nw, heads, window_size ** 2)``."""
    (b, heads), (rows, columns) = q.shape[:2], scale.shape[3:]
    out, lse = _empty_map(q, *q.shape), scale.new_empty((b, rows, columns, heads, window_size**2))
    _launch(_attention_kernel, _grid(scale, window_size),
            (*_strided(q, k, v), scale, offset, *_strided(bias_table, out), lse, softmax_scale),
            q, scale, window_size, top, left, PRECISION=precision_of(q))
    return out, lse


@kernel_operator('window_attention_rows', mutates_args=('grad_q', ))
def grad_rows(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
              lse: Tensor, grad_q: Tensor, window_size: int, top: int, left: int, softmax_scale: float) -> Tensor:
    """Writes the gradient of q, and returns the sums of ``P * dP``."""
    delta = torch.empty_like(lse)
    _launch(_rows_kernel, _grid(scale, window_size),
            (*_strided(q, k, v, grad), scale, offset, *_strided(bias_table), lse, *_strided(grad_q), delta,
             softmax_scale), q, scale, window_size, top, left, PRECISION=precision_of(q))
    return delta


@kernel_operator('window_attention_windows', mutates_args=('grad_q', ))
def grad_windows(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                 lse: Tensor, grad_q: Tensor, delta: Tensor | None, window_size: int, top: int, left: int,
                 softmax_scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of sampled keys and values ``(2, B, heads, d, nh * window_size, nw * window_size)``; those of scale, of
    offset and of the table of biases, in parts. Where windows are one block, ``delta`` is None and the gradient of q is
    written; else it is left as :func:`grad_rows` wrote it."""
    (rows, columns), grid = scale.shape[3:], _grid(scale, window_size)
    windows, blocks, heads = *grid, q.shape[1]
    tokens = _empty_map(q, 2, *q.shape[:3], rows * window_size, columns * window_size)
    grad_scale, grad_offset = scale.new_empty((blocks, *scale.shape)), scale.new_empty((blocks, *scale.shape))
    tables = (torch.empty if delta is None else torch.zeros)(
        (windows // heads, heads, blocks, (2 * window_size - 1)**2), dtype=scale.dtype, device=scale.device)
    _launch(_windows_kernel, grid,
            (*_strided(q, k, v, grad), scale, offset, *_strided(bias_table), lse, lse if delta is None else delta,
             *_strided(grad_q, tokens), grad_scale, grad_offset, tables, softmax_scale),
            q, scale, window_size, top, left, WHOLE=delta is None, PRECISION=precision_of(q))
    return tokens, grad_scale, grad_offset, tables


@kernel_operator('window_pixels', mutates_args=('out', ))
def grad_pixels(tokens: Tensor, scale: Tensor, offset: Tensor, out: Tensor, window_size: int, top: int,
                left: int) -> None:
    """From gradients of what several maps sampled, ``(maps, B, heads, d, ...)``, to theirs: ``out``."""
    parts, images, heads, _, *size = out.shape
    tiles = [triton.cdiv(length, TILE.value) for length in size]
    _launch(_pixels_kernel, (parts * images * heads * tiles[0] * tiles[1], ),
            (*_strided(tokens), scale, offset, *_strided(out), images, *tiles),
            out, scale, window_size, top, left, PRECISION=precision_of(out))
