"""Triton kernels of :mod:`mmvit_backbones.ops.residual_window_attention`.

A program has one head of one window, all of which fits into registers: so the softmax is computed again where it is
needed, and one kernel gives all gradients, by the formulas of :mod:`.residual_attention`. The tokens of a window are
read from the map of projections in place, and results are written there. ``B``, ``H``, ``W`` and ``C`` are of the
map, ``windows`` cover it and what is padded; a token of the padding has the projections ``padding``.
"""
import torch
import triton
import triton.language as tl
from torch import Tensor

from .blocks import dot, load_block, store_block
from .launch import block_of, kernel_operator, launch, precision_of, with_strides


@triton.jit
def _window(shift, rows, columns, heads, height, width, WINDOW: tl.constexpr, BLOCK_N: tl.constexpr):
    """The program's image, window and head, and the window's tokens in the padded map, which is rolled up and left.

    These are rows, columns, which exist, and which of them are inside of the map.
    """
    program = tl.program_id(0).to(tl.int64)
    window, tokens = program // heads % (rows * columns), tl.arange(0, BLOCK_N)
    y = window // columns * WINDOW + tokens // WINDOW + shift
    x = window % columns * WINDOW + tokens % WINDOW + shift
    y = tl.where(y < rows * WINDOW, y, y - rows * WINDOW)
    x = tl.where(x < columns * WINDOW, x, x - columns * WINDOW)
    exists = tokens < WINDOW * WINDOW
    place = y, x, exists, exists & (y < height) & (x < width)
    return program // heads // (rows * columns), window, program % heads, place


@triton.jit
def _at(x, y_position, x_position, channel, channels):
    first, stride_y, stride_x, stride_c = x
    return first + channel * stride_c + (
        (y_position * stride_y + x_position * stride_x)[:, None] + (channels * stride_c)[None, :])


@triton.jit
def _load_tokens(x, padding, place, channel, channels, d, PADDED: tl.constexpr):
    """Channels of a window's tokens, ``padding`` outside of the map, zero where there is no token.

    ``x`` is where the map begins and its strides.
    """
    position_y, position_x, exists, inside = place
    block = tl.load(_at(x, position_y, position_x, channel, channels),
                    mask=inside[:, None] & (channels < d)[None, :], other=0.)
    if PADDED:
        value = tl.load(padding + channel + channels, mask=channels < d, other=0.)
        block = tl.where((exists & (inside == 0))[:, None], value[None, :], block)
    return block


@triton.jit
def _store_tokens(x, place, written, channel, channels, d, block):
    tl.store(_at(x, place[0], place[1], channel, channels), block.to(x[0].dtype.element_ty),
             mask=written[:, None] & (channels < d)[None, :])


@triton.jit
def _load_map(x, N: tl.constexpr, BLOCK_N: tl.constexpr):
    """What is ``(N, N)`` and contiguous, in float32."""
    tokens = tl.arange(0, BLOCK_N)
    return load_block(x, N, 1, 0, 0, tokens, tokens, N, N).to(tl.float32)


@triton.jit
def _store_map(x, block, N: tl.constexpr, BLOCK_N: tl.constexpr):
    tokens = tl.arange(0, BLOCK_N)
    store_block(x, N, 1, 0, 0, tokens, tokens, N, N, block)


@triton.jit
def _softmax(logits, mask, N: tl.constexpr, BLOCK_N: tl.constexpr, HAS_MASK: tl.constexpr):
    """Of a window's logits in float32, zero outside."""
    tokens = tl.arange(0, BLOCK_N)
    if HAS_MASK:
        logits += _load_map(mask, N, BLOCK_N)
    logits = tl.where(tokens[None, :] < N, logits, -float('inf'))
    attn = tl.exp(logits - tl.max(logits, 1)[:, None])
    return tl.where(tokens[:, None] < N, attn / tl.sum(attn, 1)[:, None], 0.)


@triton.jit
def _forward_kernel(qkv, stride_b, stride_y, stride_x, stride_c, padding, prev, prev_b, prev_w, prev_h, bias, mask,
                    out, logits, height, width, rows, columns, shift, heads, d, alpha, scale,
                    HAS_PREV: tl.constexpr, HAS_MASK: tl.constexpr, PADDED: tl.constexpr, WINDOW: tl.constexpr,
                    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    N: tl.constexpr = WINDOW * WINDOW
    batch, window, head, place = _window(shift, rows, columns, heads, height, width, WINDOW, BLOCK_N)
    first, channels = tl.program_id(0).to(tl.int64) * N * N, tl.arange(0, BLOCK_D)
    qkv = qkv + batch * stride_b, stride_y, stride_x, stride_c
    out = out + batch * height * width * heads * d, width * heads * d, heads * d, 1
    q = _load_tokens(qkv, padding, place, head * d, channels, d, PADDED)
    k = _load_tokens(qkv, padding, place, (heads + head) * d, channels, d, PADDED)
    block = scale * dot(q, tl.trans(k), None, PRECISION)
    if HAS_PREV:
        before = _load_map(prev + batch * prev_b + window * prev_w + head * prev_h, N, BLOCK_N)
        block = alpha * block + (1 - alpha) * before
    block += _load_map(bias + head * N * N, N, BLOCK_N)
    block = block.to(logits.dtype.element_ty)
    _store_map(logits + first, block, N, BLOCK_N)
    attn = _softmax(block.to(tl.float32), mask + window * N * N, N, BLOCK_N, HAS_MASK)
    v = _load_tokens(qkv, padding, place, (2 * heads + head) * d, channels, d, PADDED)
    _store_tokens(out, place, place[3], head * d, channels, d, dot(attn.to(v.dtype), v, None, PRECISION))


@triton.jit
def _backward_kernel(qkv, stride_b, stride_y, stride_x, stride_c, padding, mask, logits, grad, grad_b, grad_y, grad_x,
                     grad_c, grad_next, grad_qkv, grad_logits, height, width, rows, columns, shift, heads, d,
                     own, keep, scale, HAS_MASK: tl.constexpr, HAS_NEXT: tl.constexpr, PADDED: tl.constexpr,
                     WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    N: tl.constexpr = WINDOW * WINDOW
    batch, window, head, place = _window(shift, rows, columns, heads, height, width, WINDOW, BLOCK_N)
    first, channels = tl.program_id(0).to(tl.int64) * N * N, tl.arange(0, BLOCK_D)
    qkv = qkv + batch * stride_b, stride_y, stride_x, stride_c
    grad = grad + batch * grad_b, grad_y, grad_x, grad_c
    c, total = 3 * heads * d, rows * WINDOW * columns * WINDOW
    grad_qkv = grad_qkv + batch * total * c, columns * WINDOW * c, c, 1
    attn = _softmax(_load_map(logits + first, N, BLOCK_N), mask + window * N * N, N, BLOCK_N, HAS_MASK)
    g = _load_tokens(grad, padding, place, head * d, channels, d, False)
    v = _load_tokens(qkv, padding, place, (2 * heads + head) * d, channels, d, PADDED)
    for_value = dot(tl.trans(attn).to(g.dtype), g, None, PRECISION)
    _store_tokens(grad_qkv, place, place[2], (2 * heads + head) * d, channels, d, for_value)
    product = dot(g, tl.trans(v), None, PRECISION)
    block = attn * (product - tl.sum(attn * product, 1)[:, None])
    if HAS_NEXT:
        block += _load_map(grad_next + first, N, BLOCK_N)
    _store_map(grad_logits + first, keep * block, N, BLOCK_N)
    k = _load_tokens(qkv, padding, place, (heads + head) * d, channels, d, PADDED)
    block = block.to(k.dtype)
    for_query = (own * scale) * dot(block, k, None, PRECISION)
    _store_tokens(grad_qkv, place, place[2], head * d, channels, d, for_query)
    q = _load_tokens(qkv, padding, place, head * d, channels, d, PADDED)
    for_key = (own * scale) * dot(tl.trans(block), q, None, PRECISION)
    _store_tokens(grad_qkv, place, place[2], (heads + head) * d, channels, d, for_key)


@kernel_operator('residual_window_attention')
def forward(qkv: Tensor, padding: Tensor | None, prev: Tensor | None, bias: Tensor, mask: Tensor | None,
            num_heads: int, window_size: int, shift: int, alpha: float, scale: float) -> tuple[Tensor, Tensor]:
    """Output ``(B, H, W, C)`` and logits ``(B, windows, num_heads, N, N)``."""
    b, h, w, c = qkv.shape
    rows, columns = triton.cdiv(h, window_size), triton.cdiv(w, window_size)
    area, d = window_size**2, c // 3 // num_heads
    out = qkv.new_empty((b, h, w, c // 3))
    logits = qkv.new_empty((b, rows * columns, num_heads, area, area))
    launch(_forward_kernel, (b * rows * columns * num_heads, ), *with_strides(qkv), qkv if padding is None else padding,
           qkv if prev is None else prev, *((0, 0, 0) if prev is None else prev.stride()[:3]), bias,
           bias if mask is None else mask, out, logits, h, w, rows, columns, shift, num_heads, d, alpha, scale,
           HAS_PREV=prev is not None, HAS_MASK=mask is not None, PADDED=padding is not None, WINDOW=window_size,
           BLOCK_N=block_of(area), BLOCK_D=block_of(d), PRECISION=precision_of(qkv))
    return out, logits


@kernel_operator('residual_window_attention_backward')
def backward(qkv: Tensor, padding: Tensor | None, mask: Tensor | None, logits: Tensor, grad: Tensor,
             grad_next: Tensor | None, window_size: int, shift: int, own: float, keep: float,
             scale: float) -> tuple[Tensor, Tensor]:
    """Gradient of the padded map of projections, and ``keep`` times that of the logits."""
    (b, h, w, c), num_heads = qkv.shape, logits.shape[2]
    rows, columns = triton.cdiv(h, window_size), triton.cdiv(w, window_size)
    area, d = window_size**2, c // 3 // num_heads
    grad_qkv = qkv.new_empty((b, rows * window_size, columns * window_size, c))
    grad_logits = torch.empty_like(logits)
    launch(_backward_kernel, (b * rows * columns * num_heads, ), *with_strides(qkv),
           qkv if padding is None else padding, logits if mask is None else mask, logits, *with_strides(grad),
           logits if grad_next is None else grad_next, grad_qkv, grad_logits, h, w, rows, columns, shift, num_heads, d,
           own, keep, scale, HAS_MASK=mask is not None, HAS_NEXT=grad_next is not None, PADDED=padding is not None,
           WINDOW=window_size, BLOCK_N=block_of(area), BLOCK_D=block_of(d), PRECISION=precision_of(qkv))
    return grad_qkv, grad_logits
