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
def _window(window, heads, rows, columns):
    """Image, row, column and head of a window."""
    return (window // heads // columns // rows, window // heads // columns % rows, window // heads % columns,
            window % heads)


@triton.jit
def _plane(x, image, head, x_b, x_h):
    return x + image.to(tl.int64) * x_b + head.to(tl.int64) * x_h


@triton.jit
def _axis(scale, offset, index, window, pad, WINDOW: tl.constexpr):
    """Middle of a window along an axis, and the distance of its tokens, in pixels."""
    center = (window * WINDOW - pad).to(tl.float32) + (WINDOW - 1) / 2
    return center + tl.load(offset + index), 1 + tl.load(scale + index)


@triton.jit
def _axes(scale, offset, image, row, column, head, heads, rows, columns, top, left, WINDOW: tl.constexpr):
    """``_axis`` of y and of x, and the index of the window's parameters for x; those for y follow a grid later."""
    index = ((image.to(tl.int64) * heads + head) * 2 * rows + row) * columns + column
    y, spacing_y = _axis(scale, offset, index + rows * columns, row, top, WINDOW)
    x, spacing_x = _axis(scale, offset, index, column, left, WINDOW)
    return y, spacing_y, x, spacing_x, index


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
def _taps(y, spacing_y, x, spacing_x, token, height, width, WINDOW: tl.constexpr):
    """``_tap`` of tokens along y and x."""
    distance_y, distance_x = _distance(token, WINDOW)
    low_y, fy = _tap(y + spacing_y * distance_y, height)
    low_x, fx = _tap(x + spacing_x * distance_x, width)
    return low_y, fy, low_x, fx


@triton.jit
def _corner(x, x_d, x_y, x_x, row, column, height, width, valid, channels, d):
    """A pixel of every token, in float32; 0 outside of the map."""
    valid = valid & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixels = x + row.to(tl.int64) * x_y + column.to(tl.int64) * x_x
    return tl.load(pixels[:, None] + (channels * x_d)[None, :], mask=valid[:, None] & (channels < d)[None, :],
                   other=0.).to(tl.float32)


@triton.jit
def _sample(x, x_d, x_y, x_x, row, fy, column, fx, height, width, valid, channels, d):
    """Bilinear interpolation."""
    a = _corner(x, x_d, x_y, x_x, row, column, height, width, valid, channels, d)
    total = ((1 - fy) * (1 - fx))[:, None] * a
    a = _corner(x, x_d, x_y, x_x, row, column + 1, height, width, valid, channels, d)
    total += ((1 - fy) * fx)[:, None] * a
    a = _corner(x, x_d, x_y, x_x, row + 1, column, height, width, valid, channels, d)
    total += (fy * (1 - fx))[:, None] * a
    a = _corner(x, x_d, x_y, x_x, row + 1, column + 1, height, width, valid, channels, d)
    return total + (fy * fx)[:, None] * a


@triton.jit
def _slopes(x, x_d, x_y, x_x, row, fy, column, fx, height, width, valid, channels, d, grad):
    """What the positions of tokens receive, along y and x, from the gradients of what they sampled."""
    a = tl.sum(_corner(x, x_d, x_y, x_x, row, column, height, width, valid, channels, d) * grad, 1)
    b = tl.sum(_corner(x, x_d, x_y, x_x, row, column + 1, height, width, valid, channels, d) * grad, 1)
    y, x_slope = -(1 - fx) * a - fx * b, (1 - fy) * (b - a)
    a = tl.sum(_corner(x, x_d, x_y, x_x, row + 1, column, height, width, valid, channels, d) * grad, 1)
    b = tl.sum(_corner(x, x_d, x_y, x_x, row + 1, column + 1, height, width, valid, channels, d) * grad, 1)
    return y + (1 - fx) * a + fx * b, x_slope + fy * (b - a)


@triton.jit
def _pixels(x, x_d, x_y, x_x, row, column, channels):
    return (x + row.to(tl.int64) * x_y + column.to(tl.int64) * x_x)[:, None] + (channels * x_d)[None, :]


@triton.jit
def _add_slopes(x, x_d, x_y, x_x, grad, g_d, g_y, g_x, y, spacing_y, x_center, spacing_x, row, column, key, height,
                width, channels, d, sums, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr):
    """Adds what scale and offset of a window receive for a block of tokens, few at a time to spare registers.

    ``sums`` are those of offset and scale along y, then along x, for each of ``FEW`` tokens.
    """
    offset_y, scale_y, offset_x, scale_x = sums
    for first in range(0, BLOCK_N, FEW):
        token = key + first + tl.arange(0, FEW)
        valid = token < WINDOW * WINDOW
        low_y, fy, low_x, fx = _taps(y, spacing_y, x_center, spacing_x, token, height, width, WINDOW)
        place = _pixels(grad, g_d, g_y, g_x, row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW, channels)
        g = tl.load(place, mask=valid[:, None] & (channels < d)[None, :], other=0.).to(tl.float32)
        along_y, along_x = _slopes(x, x_d, x_y, x_x, low_y, fy, low_x, fx, height, width, valid, channels, d, g)
        distance_y, distance_x = _distance(token, WINDOW)
        offset_y += along_y
        scale_y += along_y * distance_y
        offset_x += along_x
        scale_x += along_x * distance_x
    return offset_y, scale_y, offset_x, scale_x


@triton.jit
def _store_slopes(grad_scale, grad_offset, index, next_axis, sums):
    offset_y, scale_y, offset_x, scale_x = sums
    tl.store(grad_scale + index, tl.sum(scale_x))
    tl.store(grad_scale + index + next_axis, tl.sum(scale_y))
    tl.store(grad_offset + index, tl.sum(offset_x))
    tl.store(grad_offset + index + next_axis, tl.sum(offset_y))


@triton.jit
def _queries(token, row, column, top, left, height, width, WINDOW: tl.constexpr):
    """Pixels of the tokens of a fixed window, and whether they are on the map."""
    y, x = row * WINDOW + token // WINDOW - top, column * WINDOW + token % WINDOW - left
    return y, x, (token < WINDOW * WINDOW) & (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def _bias(bias, bias_r, queries, keys, WINDOW: tl.constexpr):
    """A block of the biases of one head."""
    side: tl.constexpr = 2 * WINDOW - 1
    before = queries // WINDOW * side + queries % WINDOW + (WINDOW - 1) * (side + 1)
    index = before[:, None] - (keys // WINDOW * side + keys % WINDOW)[None, :]
    inside = (queries < WINDOW * WINDOW)[:, None] & (keys < WINDOW * WINDOW)[None, :]
    return tl.load(bias + index * bias_r, mask=inside, other=0.)


@triton.jit
def _attend(queries, g, keys, values, bias, bias_r, query, token, row_lse, valid, softmax_scale, WINDOW: tl.constexpr,
            PRECISION: tl.constexpr):
    """A block of the softmax map, zero outside of the map and the window, and of its gradient."""
    logits = softmax_scale * dot(queries, tl.trans(keys), None, PRECISION)
    logits += _bias(bias, bias_r, query, token, WINDOW)
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
    image, row, column, head = _window(tl.program_id(0), heads, rows, columns)
    y, spacing_y, x, spacing_x, _ = _axes(scale, offset, image, row, column, head, heads, rows, columns, top, left,
                                          WINDOW)
    features, out = _plane(features, image, head, f_b, f_h), _plane(out, image, head, o_b, o_h)
    channels = tl.arange(0, BLOCK_D)
    for first in range(0, BLOCK_N, FEW):
        token = tl.program_id(1) * BLOCK_N + first + tl.arange(0, FEW)
        low_y, fy, low_x, fx = _taps(y, spacing_y, x, spacing_x, token, height, width, WINDOW)
        valid = token < WINDOW * WINDOW
        result = _sample(features, f_d, f_y, f_x, low_y, fy, low_x, fx, height, width, valid, channels, d)
        place = _pixels(out, o_d, o_y, o_x, row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW, channels)
        tl.store(place, result.to(out.dtype.element_ty), mask=valid[:, None] & (channels < d)[None, :])


@triton.jit
def _slopes_kernel(features, f_b, f_h, f_d, f_y, f_x, grad, g_b, g_h, g_d, g_y, g_x, scale, offset, grad_scale,
                   grad_offset, heads, height, width, rows, columns, top, left, d,
                   WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):
    """Gradients of scale and offset, from those of sampled features."""
    image, row, column, head = _window(tl.program_id(0), heads, rows, columns)
    y, spacing_y, x, spacing_x, index = _axes(scale, offset, image, row, column, head, heads, rows, columns, top, left,
                                              WINDOW)
    zero = tl.zeros((FEW,), tl.float32)
    sums = _add_slopes(_plane(features, image, head, f_b, f_h), f_d, f_y, f_x, _plane(grad, image, head, g_b, g_h), g_d,
                       g_y, g_x, y, spacing_y, x, spacing_x, row, column, tl.program_id(1) * BLOCK_N, height, width,
                       tl.arange(0, BLOCK_D), d, (zero, zero, zero, zero), WINDOW, BLOCK_N)
    index += tl.program_id(1) * (tl.cast(tl.num_programs(0), tl.int64) * 2)
    _store_slopes(grad_scale, grad_offset, index, rows * columns, sums)


@triton.jit
def _attention_kernel(q, q_b, q_h, q_d, q_y, q_x, k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x, scale, offset,
                      bias, bias_r, bias_h, out, o_b, o_h, o_d, o_y, o_x, lse, softmax_scale, heads, height, width,
                      rows, columns, top, left, d, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
                      PRECISION: tl.constexpr):
    window = tl.program_id(0)
    image, row, column, head = _window(window, heads, rows, columns)
    query, channels = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    y, spacing_y, x, spacing_x, _ = _axes(scale, offset, image, row, column, head, heads, rows, columns, top, left,
                                          WINDOW)
    k, v = _plane(k, image, head, k_b, k_h), _plane(v, image, head, v_b, v_h)
    query_y, query_x, valid = _queries(query, row, column, top, left, height, width, WINDOW)
    on_map = valid[:, None] & (channels < d)[None, :]
    queries = tl.load(_pixels(_plane(q, image, head, q_b, q_h), q_d, q_y, q_x, query_y, query_x, channels),
                      mask=on_map, other=0.)
    highest = tl.full((BLOCK_N,), -float('inf'), tl.float32)
    total = tl.zeros((BLOCK_N,), tl.float32)
    result = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        token = first + tl.arange(0, BLOCK_N)
        inside = token < WINDOW * WINDOW
        low_y, fy, low_x, fx = _taps(y, spacing_y, x, spacing_x, token, height, width, WINDOW)
        keys = _sample(k, k_d, k_y, k_x, low_y, fy, low_x, fx, height, width, inside, channels, d).to(queries.dtype)
        logits = softmax_scale * dot(queries, tl.trans(keys), None, PRECISION)
        logits += _bias(bias + head * bias_h, bias_r, query, token, WINDOW)
        logits = tl.where(inside[None, :], logits, -float('inf'))
        new_highest = tl.maximum(highest, tl.max(logits, 1))
        attn = tl.exp(logits - new_highest[:, None])
        shrink = tl.exp(highest - new_highest)
        total = total * shrink + tl.sum(attn, 1)
        values = _sample(v, v_d, v_y, v_x, low_y, fy, low_x, fx, height, width, inside, channels, d).to(queries.dtype)
        result = dot(attn.to(queries.dtype), values, result * shrink[:, None], PRECISION)
        highest = new_highest
    tl.store(lse + window.to(tl.int64) * (WINDOW * WINDOW) + query, highest + tl.log(total),
             mask=query < WINDOW * WINDOW)
    pixels = _pixels(_plane(out, image, head, o_b, o_h), o_d, o_y, o_x, query_y, query_x, channels)
    tl.store(pixels, (result / total[:, None]).to(out.dtype.element_ty), mask=on_map)


@triton.jit
def _rows_kernel(q, q_b, q_h, q_d, q_y, q_x, k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x,
                 grad, g_b, g_h, g_d, g_y, g_x, scale, offset, bias, bias_r, bias_h, lse,
                 grad_q, o_b, o_h, o_d, o_y, o_x, delta, softmax_scale, heads, height, width, rows, columns, top, left,
                 d, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Of windows of several blocks: the gradient of q, and the sums over keys of ``P * dP``."""
    window = tl.program_id(0)
    image, row, column, head = _window(window, heads, rows, columns)
    query, channels = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    y, spacing_y, x, spacing_x, _ = _axes(scale, offset, image, row, column, head, heads, rows, columns, top, left,
                                          WINDOW)
    k, v = _plane(k, image, head, k_b, k_h), _plane(v, image, head, v_b, v_h)
    query_y, query_x, valid = _queries(query, row, column, top, left, height, width, WINDOW)
    on_map = valid[:, None] & (channels < d)[None, :]
    queries = tl.load(_pixels(_plane(q, image, head, q_b, q_h), q_d, q_y, q_x, query_y, query_x, channels),
                      mask=on_map, other=0.)
    g = tl.load(_pixels(_plane(grad, image, head, g_b, g_h), g_d, g_y, g_x, query_y, query_x, channels),
                mask=on_map, other=0.)
    bias += head * bias_h
    lse += window.to(tl.int64) * (WINDOW * WINDOW)
    delta += window.to(tl.int64) * (WINDOW * WINDOW)
    row_lse = tl.load(lse + query, mask=query < WINDOW * WINDOW, other=0.)
    row_sum = tl.zeros((BLOCK_N,), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        token = first + tl.arange(0, BLOCK_N)
        low_y, fy, low_x, fx = _taps(y, spacing_y, x, spacing_x, token, height, width, WINDOW)
        inside = token < WINDOW * WINDOW
        keys = _sample(k, k_d, k_y, k_x, low_y, fy, low_x, fx, height, width, inside, channels, d).to(queries.dtype)
        values = _sample(v, v_d, v_y, v_x, low_y, fy, low_x, fx, height, width, inside, channels, d).to(queries.dtype)
        attn, grad_attn = _attend(queries, g, keys, values, bias, bias_r, query, token, row_lse, valid, softmax_scale,
                                  WINDOW, PRECISION)
        row_sum += tl.sum(attn * grad_attn, 1)
    tl.store(delta + query, row_sum, mask=query < WINDOW * WINDOW)
    result = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        token = first + tl.arange(0, BLOCK_N)
        low_y, fy, low_x, fx = _taps(y, spacing_y, x, spacing_x, token, height, width, WINDOW)
        inside = token < WINDOW * WINDOW
        keys = _sample(k, k_d, k_y, k_x, low_y, fy, low_x, fx, height, width, inside, channels, d).to(queries.dtype)
        values = _sample(v, v_d, v_y, v_x, low_y, fy, low_x, fx, height, width, inside, channels, d).to(queries.dtype)
        attn, grad_attn = _attend(queries, g, keys, values, bias, bias_r, query, token, row_lse, valid, softmax_scale,
                                  WINDOW, PRECISION)
        result = dot((attn * (grad_attn - row_sum[:, None])).to(keys.dtype), keys, result, PRECISION)
    tl.store(_pixels(_plane(grad_q, image, head, o_b, o_h), o_d, o_y, o_x, query_y, query_x, channels),
             (softmax_scale * result).to(grad_q.dtype.element_ty), mask=on_map)


@triton.jit
def _windows_kernel(q, q_b, q_h, q_d, q_y, q_x, k, k_b, k_h, k_d, k_y, k_x, v, v_b, v_h, v_d, v_y, v_x,
                    grad, g_b, g_h, g_d, g_y, g_x, scale, offset, bias, bias_r, bias_h, lse, delta,
                    grad_q, o_b, o_h, o_d, o_y, o_x, tokens, t_p, t_b, t_h, t_d, t_y, t_x, grad_scale, grad_offset,
                    table, softmax_scale, heads, height, width, rows, columns, top, left, d, WHOLE: tl.constexpr,
                    WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Gradients of sampled keys and values, of scale and offset, of biases, and of q if the window is one block."""
    window, key = tl.program_id(0), tl.program_id(1) * BLOCK_N
    token, channels = key + tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    inside = token < WINDOW * WINDOW
    image, row, column, head = _window(window, heads, rows, columns)
    bias += head * bias_h
    table += (window.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)) * ((2 * WINDOW - 1) * (2 * WINDOW - 1))
    y, spacing_y, x, spacing_x, index = _axes(scale, offset, image, row, column, head, heads, rows, columns, top,
                                              left, WINDOW)
    low_y, fy, low_x, fx = _taps(y, spacing_y, x, spacing_x, token, height, width, WINDOW)
    k_plane, v_plane = _plane(k, image, head, k_b, k_h), _plane(v, image, head, v_b, v_h)
    keys = _sample(k_plane, k_d, k_y, k_x, low_y, fy, low_x, fx, height, width, inside, channels, d)
    keys = keys.to(k.dtype.element_ty)
    values = _sample(v_plane, v_d, v_y, v_x, low_y, fy, low_x, fx, height, width, inside, channels, d)
    values = values.to(v.dtype.element_ty)
    for_key = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for_value = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for first in range(0, WINDOW * WINDOW, BLOCK_N):
        query = first + tl.arange(0, BLOCK_N)
        query_y, query_x, valid = _queries(query, row, column, top, left, height, width, WINDOW)
        on_map = valid[:, None] & (channels < d)[None, :]
        queries = tl.load(_pixels(_plane(q, image, head, q_b, q_h), q_d, q_y, q_x, query_y, query_x, channels),
                          mask=on_map, other=0.)
        g = tl.load(_pixels(_plane(grad, image, head, g_b, g_h), g_d, g_y, g_x, query_y, query_x, channels),
                    mask=on_map, other=0.)
        at = window.to(tl.int64) * (WINDOW * WINDOW) + query
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
            result = softmax_scale * dot(block, keys, None, PRECISION)
            tl.store(_pixels(_plane(grad_q, image, head, o_b, o_h), o_d, o_y, o_x, query_y, query_x, channels),
                     result.to(grad_q.dtype.element_ty), mask=on_map)
    for_key *= softmax_scale
    token_plane = _plane(tokens, image, head, t_b, t_h)
    place = _pixels(token_plane, t_d, t_y, t_x, row * WINDOW + token // WINDOW, column * WINDOW + token % WINDOW,
                    channels)
    exists = inside[:, None] & (channels < d)[None, :]
    tl.store(place, for_key.to(tokens.dtype.element_ty), mask=exists)
    tl.store(place + t_p, for_value.to(tokens.dtype.element_ty), mask=exists)
    tl.debug_barrier()  # what the program wrote, it reads
    zero = tl.zeros((FEW,), tl.float32)
    sums = _add_slopes(k_plane, k_d, k_y, k_x, token_plane, t_d, t_y, t_x, y, spacing_y, x, spacing_x, row, column,
                       key, height, width, channels, d, (zero, zero, zero, zero), WINDOW, BLOCK_N)
    sums = _add_slopes(v_plane, v_d, v_y, v_x, token_plane + t_p, t_d, t_y, t_x, y, spacing_y, x, spacing_x, row,
                       column, key, height, width, channels, d, sums, WINDOW, BLOCK_N)
    index += tl.program_id(1) * (tl.cast(tl.num_programs(0), tl.int64) * 2)
    _store_slopes(grad_scale, grad_offset, index, rows * columns, sums)


@triton.jit
def _triangle(position, pixel):
    """Weights of pixels in tokens along an axis, ``(pixels, tokens)``."""
    distance = tl.abs(position[None, :] - pixel[:, None].to(tl.float32))
    return tl.where(distance < 1, 1 - distance, 0.)


@triton.jit
def _reaches(center, spacing, first, WINDOW: tl.constexpr):
    """Whether a window has tokens within a pixel of a tile along an axis; one that is not finite may say so, too."""
    reach = tl.abs(spacing) * ((WINDOW - 1) / 2)
    return (center + reach > first - 1) & (center - reach < first + TILE)


@triton.jit
def _pixels_kernel(tokens, t_p, t_b, t_h, t_d, t_y, t_x, scale, offset, out, o_p, o_b, o_h, o_d, o_y, o_x, images,
                   heads, height, width, rows, columns, top, left, d, tiles_y, tiles_x,
                   WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Sums over tokens of their weight in a pixel times their gradient; several maps that sampled alike."""
    plane, tile = tl.program_id(0) // (tiles_y * tiles_x), tl.program_id(0) % (tiles_y * tiles_x)
    part, image, head = plane // heads // images, plane // heads % images, plane % heads
    tile_y, tile_x = tile // tiles_x * TILE, tile % tiles_x * TILE
    pixel, channels = tl.arange(0, TILE * TILE), tl.arange(0, BLOCK_D)
    pixel_y, pixel_x = tile_y + pixel // TILE, tile_x + pixel % TILE
    tokens = _plane(tokens, image, head, t_b, t_h) + part.to(tl.int64) * t_p
    result = tl.zeros((TILE * TILE, BLOCK_D), tl.float32)
    for window in range(0, rows * columns):
        row, column = window // columns, window % columns
        y, spacing_y, x, spacing_x, _ = _axes(scale, offset, image, row, column, head, heads, rows, columns, top, left,
                                              WINDOW)
        if _reaches(y, spacing_y, tile_y, WINDOW) & _reaches(x, spacing_x, tile_x, WINDOW):
            for first in range(0, WINDOW * WINDOW, BLOCK_N):
                token = first + tl.arange(0, BLOCK_N)
                distance_y, distance_x = _distance(token, WINDOW)
                weight = _triangle(y + spacing_y * distance_y, pixel_y) * _triangle(x + spacing_x * distance_x, pixel_x)
                grad = tl.load(_pixels(tokens, t_d, t_y, t_x, row * WINDOW + token // WINDOW,
                                       column * WINDOW + token % WINDOW, channels),
                               mask=(token < WINDOW * WINDOW)[:, None] & (channels < d)[None, :], other=0.)
                result = dot(weight.to(grad.dtype), grad, result, PRECISION)
    place = _pixels(_plane(out, image, head, o_b, o_h) + part.to(tl.int64) * o_p, o_d, o_y, o_x, pixel_y, pixel_x,
                    channels)
    tl.store(place, result.to(out.dtype.element_ty),
             mask=((pixel_y < height) & (pixel_x < width))[:, None] & (channels < d)[None, :])


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


@kernel_operator('window_sample')
def sample(features: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int, left: int) -> Tensor:
    """``(B, heads, C, nh * window_size, nw * window_size)``; scale and offset are contiguous, here and below."""
    (b, heads, d, *size), (rows, columns) = features.shape, scale.shape[3:]
    out = _empty_map(features, b, heads, d, rows * window_size, columns * window_size)
    launch(_sample_kernel, _grid(scale, window_size), features, *features.stride(), scale, offset, out, *out.stride(),
           heads, *size, rows, columns, top, left, d, WINDOW=window_size, BLOCK_N=_block(window_size),
           BLOCK_D=block_of(d))
    return out


@kernel_operator('window_sample_slopes')
def slopes(features: Tensor, grad: Tensor, scale: Tensor, offset: Tensor, window_size: int, top: int,
           left: int) -> tuple[Tensor, Tensor]:
    """Gradients of scale and offset, a part of each for every block of tokens."""
    (heads, d, *size), (rows, columns) = features.shape[1:], scale.shape[3:]
    grid = _grid(scale, window_size)
    grad_scale, grad_offset = scale.new_empty((grid[1], *scale.shape)), scale.new_empty((grid[1], *scale.shape))
    launch(_slopes_kernel, grid, features, *features.stride(), grad, *grad.stride(), scale, offset, grad_scale,
           grad_offset, heads, *size, rows, columns, top, left, d, WINDOW=window_size,
           BLOCK_N=_block(window_size), BLOCK_D=block_of(d))
    return grad_scale, grad_offset


@kernel_operator('window_attention')
def attention(q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor, window_size: int,
              top: int, left: int, softmax_scale: float) -> tuple[Tensor, Tensor]:
    """Output, and the log-sum-exp of every query ``(B, nh, nw, heads, window_size ** 2)``."""
    (b, heads, d, *size), (rows, columns) = q.shape, scale.shape[3:]
    out = _empty_map(q, *q.shape)
    lse = scale.new_empty((b, rows, columns, heads, window_size**2))
    launch(_attention_kernel, _grid(scale, window_size), q, *q.stride(), k, *k.stride(), v, *v.stride(), scale, offset,
           bias_table, *bias_table.stride(), out, *out.stride(), lse, softmax_scale, heads, *size, rows, columns, top,
           left, d, WINDOW=window_size, BLOCK_N=_block(window_size), BLOCK_D=block_of(d),
           PRECISION=precision_of(q))
    return out, lse


@kernel_operator('window_attention_rows')
def grad_rows(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
              lse: Tensor, window_size: int, top: int, left: int, softmax_scale: float) -> tuple[Tensor, Tensor]:
    """The gradient of q in the first third of a packed one ``(B, H, W, 3, heads, d)``, and the sums of ``P * dP``."""
    (b, heads, d, *size), (rows, columns) = q.shape, scale.shape[3:]
    packed, delta = q.new_empty((b, *size, 3, heads, d)), torch.empty_like(lse)
    grad_q = packed.permute(3, 0, 4, 5, 1, 2)[0]
    launch(_rows_kernel, _grid(scale, window_size), q, *q.stride(), k, *k.stride(), v, *v.stride(), grad,
           *grad.stride(), scale, offset, bias_table, *bias_table.stride(), lse, grad_q, *grad_q.stride(), delta,
           softmax_scale, heads, *size, rows, columns, top, left, d, WINDOW=window_size,
           BLOCK_N=_block(window_size), BLOCK_D=block_of(d), PRECISION=precision_of(q))
    return packed, delta


@kernel_operator('window_attention_windows')
def grad_windows(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: Tensor, offset: Tensor, bias_table: Tensor,
                 lse: Tensor, delta: Tensor | None, window_size: int, top: int, left: int,
                 softmax_scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the packed gradient of :func:`grad_rows` begins with, where windows are one block and ``delta`` is None; the
    gradients of sampled keys and values ``(2, B, heads, d, nh * window_size, nw * window_size)``; those of scale, of
    offset and of the table of biases, in parts."""
    (b, heads, d, *size), (rows, columns) = q.shape, scale.shape[3:]
    grid = windows, blocks = _grid(scale, window_size)
    packed = q.new_empty((b, *size, 3, heads, d) if delta is None else (0, ))
    grad_q = packed.permute(3, 0, 4, 5, 1, 2)[0] if delta is None else q  # which is left as it is
    tokens = _empty_map(q, 2, b, heads, d, rows * window_size, columns * window_size)
    grad_scale, grad_offset = scale.new_empty((blocks, *scale.shape)), scale.new_empty((blocks, *scale.shape))
    tables = (torch.empty if delta is None else torch.zeros)(
        (windows // heads, heads, blocks, (2 * window_size - 1)**2), dtype=scale.dtype, device=scale.device)
    launch(_windows_kernel, grid, q, *q.stride(), k, *k.stride(), v, *v.stride(), grad, *grad.stride(),
           scale, offset, bias_table, *bias_table.stride(), lse, lse if delta is None else delta, grad_q,
           *grad_q.stride(), tokens, *tokens.stride(), grad_scale, grad_offset, tables, softmax_scale, heads, *size,
           rows, columns, top, left, d, WHOLE=delta is None, WINDOW=window_size,
           BLOCK_N=_block(window_size), BLOCK_D=block_of(d), PRECISION=precision_of(q))
    return packed, tokens, grad_scale, grad_offset, tables


@kernel_operator('window_pixels', mutates_args=('out', ))
def grad_pixels(tokens: Tensor, scale: Tensor, offset: Tensor, out: Tensor, window_size: int, top: int,
                left: int) -> None:
    """From gradients of what several maps sampled, ``(maps, B, heads, d, ...)``, to theirs: ``out``."""
    (parts, b, heads, d, *size), (rows, columns) = out.shape, scale.shape[3:]
    tiles = [triton.cdiv(length, TILE.value) for length in size]
    launch(_pixels_kernel, (parts * b * heads * tiles[0] * tiles[1], ), tokens, *tokens.stride(), scale, offset, out,
           *out.stride(), b, heads, *size, rows, columns, top, left, d, *tiles, WINDOW=window_size,
           BLOCK_N=_block(window_size), BLOCK_D=block_of(d), PRECISION=precision_of(out))
