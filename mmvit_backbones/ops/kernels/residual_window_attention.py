"""Triton kernels of :mod:`mmvit_backbones.ops.residual_window_attention`.

A program has one head of one window, all of which fits into registers: so the softmax is computed again where it is
needed, and one kernel gives all gradients, by the formulas of :mod:`.residual_attention`. The tokens of a window are
read where they lie in the map of projections, and results are written there. ``B``, ``H``, ``W`` and ``C`` are of the
map, ``windows`` cover it and what is padded; a token of the padding has the projections ``padding``.
"""
import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends import block_of, kernel_operator, launch, precision_of
from .blocks import dot, load_block, store_block


@triton.jit
def _positions(window, tokens, shift, rows, columns, WINDOW: tl.constexpr):
    """Row and column of a window's tokens in the padded map, which is rolled up and left by ``shift``."""
    y = window // columns * WINDOW + tokens // WINDOW + shift
    x = window % columns * WINDOW + tokens % WINDOW + shift
    y = tl.where(y < rows * WINDOW, y, y - rows * WINDOW)
    x = tl.where(x < columns * WINDOW, x, x - columns * WINDOW)
    return y, x


@triton.jit
def _at(x, stride_y, stride_x, stride_c, position_y, position_x, channel, channels):
    return x + channel * stride_c + (
        (position_y * stride_y + position_x * stride_x)[:, None] + (channels * stride_c)[None, :])


@triton.jit
def _load_tokens(x, stride_y, stride_x, stride_c, padding, position_y, position_x, is_inside, is_token, channel,
                 channels, d, PADDED: tl.constexpr):
    """Channels of a window's tokens, ``padding`` outside of the map, zero where there is no token."""
    is_channel = channels < d
    block = tl.load(_at(x, stride_y, stride_x, stride_c, position_y, position_x, channel, channels),
                    mask=is_inside[:, None] & is_channel[None, :], other=0.)
    if PADDED:
        value = tl.load(padding + channel + channels, mask=is_channel, other=0.)
        block = tl.where((is_token & (is_inside == 0))[:, None], value[None, :], block)
    return block


@triton.jit
def _softmax(logits, mask, tokens, N: tl.constexpr, HAS_MASK: tl.constexpr):
    """Of a window's logits in float32, zero outside."""
    if HAS_MASK:
        logits += load_block(mask, N, 1, 0, 0, tokens, tokens, N, N).to(tl.float32)
    logits = tl.where(tokens[None, :] < N, logits, -float('inf'))
    attn = tl.exp(logits - tl.max(logits, 1)[:, None])
    return tl.where(tokens[:, None] < N, attn / tl.sum(attn, 1)[:, None], 0.)


@triton.jit
def _forward_kernel(qkv, stride_b, stride_y, stride_x, stride_c, padding, prev, prev_b, prev_w, prev_h, bias, mask,
                    out, logits, height, width, rows, columns, shift, heads, d, alpha, scale,
                    HAS_PREV: tl.constexpr, HAS_MASK: tl.constexpr, PADDED: tl.constexpr, WINDOW: tl.constexpr,
                    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    N: tl.constexpr = WINDOW * WINDOW
    image = tl.program_id(0).to(tl.int64)
    head, window, batch = image % heads, image // heads % (rows * columns), image // heads // (rows * columns)
    tokens, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    y, x = _positions(window, tokens, shift, rows, columns, WINDOW)
    is_token = tokens < N
    is_inside = is_token & (y < height) & (x < width)
    qkv += batch * stride_b
    q = _load_tokens(qkv, stride_y, stride_x, stride_c, padding, y, x, is_inside, is_token, head * d, channels, d,
                     PADDED)
    k = _load_tokens(qkv, stride_y, stride_x, stride_c, padding, y, x, is_inside, is_token, (heads + head) * d,
                     channels, d, PADDED)
    block = scale * dot(q, tl.trans(k), None, PRECISION)
    if HAS_PREV:
        prev += batch * prev_b + window * prev_w + head * prev_h
        block = alpha * block + (1 - alpha) * load_block(prev, N, 1, 0, 0, tokens, tokens, N, N).to(tl.float32)
    block += load_block(bias + head * N * N, N, 1, 0, 0, tokens, tokens, N, N).to(tl.float32)
    block = block.to(logits.dtype.element_ty)
    store_block(logits + image * N * N, N, 1, 0, 0, tokens, tokens, N, N, block)
    attn = _softmax(block.to(tl.float32), mask + window * N * N, tokens, N, HAS_MASK)
    v = _load_tokens(qkv, stride_y, stride_x, stride_c, padding, y, x, is_inside, is_token, (2 * heads + head) * d,
                     channels, d, PADDED)
    result = dot(attn.to(v.dtype), v, None, PRECISION)
    out += batch * height * width * heads * d
    tl.store(_at(out, width * heads * d, heads * d, 1, y, x, head * d, channels), result.to(out.dtype.element_ty),
             mask=is_inside[:, None] & (channels < d)[None, :])


@triton.jit
def _backward_kernel(qkv, stride_b, stride_y, stride_x, stride_c, padding, mask, logits, grad, grad_b, grad_y, grad_x,
                     grad_c, grad_next, grad_qkv, grad_logits, height, width, rows, columns, shift, heads, d,
                     own, keep, scale, HAS_MASK: tl.constexpr, HAS_NEXT: tl.constexpr, PADDED: tl.constexpr,
                     WINDOW: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    N: tl.constexpr = WINDOW * WINDOW
    image = tl.program_id(0).to(tl.int64)
    head, window, batch = image % heads, image // heads % (rows * columns), image // heads // (rows * columns)
    tokens, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_D)
    y, x = _positions(window, tokens, shift, rows, columns, WINDOW)
    is_token = tokens < N
    is_inside = is_token & (y < height) & (x < width)
    qkv += batch * stride_b
    block = load_block(logits + image * N * N, N, 1, 0, 0, tokens, tokens, N, N).to(tl.float32)
    attn = _softmax(block, mask + window * N * N, tokens, N, HAS_MASK)
    g = _load_tokens(grad + batch * grad_b, grad_y, grad_x, grad_c, padding, y, x, is_inside, is_token, head * d,
                     channels, d, False)
    v = _load_tokens(qkv, stride_y, stride_x, stride_c, padding, y, x, is_inside, is_token, (2 * heads + head) * d,
                     channels, d, PADDED)
    total = rows * WINDOW * columns * WINDOW
    grad_qkv += batch * total * 3 * heads * d
    column_stride = 3 * heads * d
    row_stride = columns * WINDOW * column_stride
    is_written = is_token[:, None] & (channels < d)[None, :]
    for_value = dot(tl.trans(attn).to(g.dtype), g, None, PRECISION)
    tl.store(_at(grad_qkv, row_stride, column_stride, 1, y, x, (2 * heads + head) * d, channels),
             for_value.to(grad_qkv.dtype.element_ty), mask=is_written)
    product = dot(g, tl.trans(v), None, PRECISION)
    block = attn * (product - tl.sum(attn * product, 1)[:, None])
    if HAS_NEXT:
        block += load_block(grad_next + image * N * N, N, 1, 0, 0, tokens, tokens, N, N).to(tl.float32)
    store_block(grad_logits + image * N * N, N, 1, 0, 0, tokens, tokens, N, N, keep * block)
    k = _load_tokens(qkv, stride_y, stride_x, stride_c, padding, y, x, is_inside, is_token, (heads + head) * d,
                     channels, d, PADDED)
    block = block.to(k.dtype)
    for_query = (own * scale) * dot(block, k, None, PRECISION)
    tl.store(_at(grad_qkv, row_stride, column_stride, 1, y, x, head * d, channels),
             for_query.to(grad_qkv.dtype.element_ty), mask=is_written)
    q = _load_tokens(qkv, stride_y, stride_x, stride_c, padding, y, x, is_inside, is_token, head * d, channels, d,
                     PADDED)
    for_key = (own * scale) * dot(tl.trans(block), q, None, PRECISION)
    tl.store(_at(grad_qkv, row_stride, column_stride, 1, y, x, (heads + head) * d, channels),
             for_key.to(grad_qkv.dtype.element_ty), mask=is_written)


@kernel_operator('residual_window_attention')
def forward(qkv: Tensor, padding: Tensor | None, prev: Tensor | None, bias: Tensor, mask: Tensor | None,
            num_heads: int, window_size: int, shift: int, alpha: float, scale: float) -> tuple[Tensor, Tensor]:
    """Output ``(B, H, W, C)`` and logits ``(B, windows, num_heads, N, N)``."""
    b, h, w, c = qkv.shape
    rows, columns, area, d = -(-h // window_size), -(-w // window_size), window_size**2, c // 3 // num_heads
    out = qkv.new_empty((b, h, w, c // 3))
    logits = qkv.new_empty((b, rows * columns, num_heads, area, area))
    launch(_forward_kernel, (b * rows * columns * num_heads, ), qkv, *qkv.stride(), qkv if padding is None else padding,
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
    rows, columns, area, d = -(-h // window_size), -(-w // window_size), window_size**2, c // 3 // num_heads
    grad_qkv = qkv.new_empty((b, rows * window_size, columns * window_size, c))
    grad_logits = torch.empty_like(logits)
    launch(_backward_kernel, (b * rows * columns * num_heads, ), qkv, *qkv.stride(),
           qkv if padding is None else padding, logits if mask is None else mask, logits, grad, *grad.stride(),
           logits if grad_next is None else grad_next, grad_qkv, grad_logits, h, w, rows, columns, shift, num_heads, d,
           own, keep, scale, HAS_MASK=mask is not None, HAS_NEXT=grad_next is not None, PADDED=padding is not None,
           WINDOW=window_size, BLOCK_N=block_of(area), BLOCK_D=block_of(d), PRECISION=precision_of(qkv))
    return grad_qkv, grad_logits
