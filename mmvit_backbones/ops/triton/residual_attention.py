"""Triton kernels of :mod:`mmvit_backbones.ops.residual_attention`.

Let ``S = alpha * q k^T / sqrt(d) + (1 - alpha) * prev + bias`` and ``P = softmax(S + mask)``. The forward pass computes
the output ``O = P v``, the logits S, and the log-sum-exp of each row of ``S + mask``. Let G be the gradient of O, and H
the gradient of S that comes from later blocks. The backward pass computes::

    L = P * (G v^T - sum over channels of G * O) + H        (the total gradient of S)
    grad_q = alpha * L k / sqrt(d),  grad_k = alpha * L^T q / sqrt(d),  grad_v = P^T G

All tensors are ``(B, windows, heads, ...)``. Arguments may have any strides, with 0 for broadcast dimensions. S, L
and the log-sum-exp are contiguous. O and grad_q are stored as ``(B, windows, rows, heads, channels)``, which linear
layers expect.
Each program processes one head of one window: a block of keys in ``_grad_keys_kernel``, a block of rows in the other
kernels. Small windows are one block (see :func:`tokens_of_block`), for which ``_grad_rows_kernel`` also computes what
``_grad_keys_kernel`` does. Their sizes and strides are constants, so that offsets take no registers.
"""
from contextlib import nullcontext
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from ..graphs import is_traced
from ..sizes import ceil_div
from . import WINDOWS
from .blocks import dot, is_inside, load_block, load_rows, store_block, store_rows
from .launch import block_of, jit, kernel_operator, launch, matmul_precision, with_strides

BLOCK = 32  # rows and keys per block; larger blocks of 128 channels would not fit in registers
MAX_WINDOW_CHANNELS = 32  # of these windows; with more, registers would be spilled


@jit
def _head(x, windows, heads, stride_b, stride_w, stride_h):
    """Returns a pointer to the program's head in an argument ``(B, windows, heads, ..., ...)`` of any strides."""
    image = tl.program_id(0)
    return x + (image // heads // windows).to(tl.int64) * stride_b + (image // heads % windows).to(
        tl.int64) * stride_w + (image % heads).to(tl.int64) * stride_h


@jit
def _head_of_tokens(x, heads, n, d):
    """Returns a pointer to the program's head in O or grad_q, which are stored as ``(B, windows, n, heads, d)``."""
    image = tl.program_id(0)
    return x + (image // heads).to(tl.int64) * n * heads * d + (image % heads) * d


@jit
def _probabilities(logits, mask, mask_n, mask_m, row_lse, row, key, rows, keys, n, m, HAS_MASK: tl.constexpr):
    """Computes a block of P for the program's head, with zeros outside the map."""
    logits += tl.program_id(0).to(tl.int64) * n * m
    block = load_block(logits, m, 1, row, key, rows, keys, n, m).to(tl.float32)
    if HAS_MASK:
        block += load_block(mask, mask_n, mask_m, row, key, rows, keys, n, m).to(tl.float32)
    return tl.where(is_inside(row, key, rows, keys, n, m), tl.exp(block - row_lse[:, None]), 0.)


@jit
def _forward_kernel(q, q_b, q_w, q_h, q_n, q_d, k, k_b, k_w, k_h, k_m, k_d, v, v_b, v_w, v_h, v_m, v_d,
                    prev, prev_b, prev_w, prev_h, prev_n, prev_m, bias, bias_b, bias_w, bias_h, bias_n, bias_m,
                    mask, mask_b, mask_w, mask_h, mask_n, mask_m, alpha, scale, out, logits, lse,
                    windows, heads, n, m, d: tl.constexpr, HAS_PREV: tl.constexpr, HAS_BIAS: tl.constexpr,
                    HAS_MASK: tl.constexpr, TOKENS: tl.constexpr, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr,
                    PRECISION: tl.constexpr):
    if TOKENS > 0:
        n, m, prev_n, bias_n, mask_n = TOKENS, TOKENS, TOKENS, TOKENS, TOKENS
    row = tl.program_id(1) * BLOCK
    rows, keys, channels = tl.arange(0, BLOCK), tl.arange(0, BLOCK), tl.arange(0, BLOCK_D)
    q = _head(q, windows, heads, q_b, q_w, q_h)
    k = _head(k, windows, heads, k_b, k_w, k_h)
    v = _head(v, windows, heads, v_b, v_w, v_h)
    prev = _head(prev, windows, heads, prev_b, prev_w, prev_h)
    bias = _head(bias, windows, heads, bias_b, bias_w, bias_h)
    mask = _head(mask, windows, heads, mask_b, mask_w, mask_h)
    logits += tl.program_id(0).to(tl.int64) * n * m
    weight = tl.load(alpha).to(tl.float32)
    query = load_block(q, q_n, q_d, row, 0, rows, channels, n, d)
    highest = tl.full((BLOCK,), -float('inf'), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    result = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for key in range(0, m, BLOCK):
        k_block = load_block(k, k_m, k_d, key, 0, keys, channels, m, d)
        block = scale * dot(query, tl.trans(k_block), None, PRECISION)
        if HAS_PREV:
            before = load_block(prev, prev_n, prev_m, row, key, rows, keys, n, m).to(tl.float32)
            block = weight * block + (1 - weight) * before
        if HAS_BIAS:
            block += load_block(bias, bias_n, bias_m, row, key, rows, keys, n, m).to(tl.float32)
        block = block.to(logits.dtype.element_ty)  # the backward pass computes P from the rounded logits
        store_block(logits, m, 1, row, key, rows, keys, n, m, block)
        block = block.to(tl.float32)
        if HAS_MASK:
            block += load_block(mask, mask_n, mask_m, row, key, rows, keys, n, m).to(tl.float32)
        block = tl.where(keys[None, :] < m - key, block, -float('inf'))
        new_highest = tl.maximum(highest, tl.max(block, 1))
        shift = tl.where(new_highest == -float('inf'), 0., new_highest)  # if the mask excludes all keys so far
        attn = tl.exp(block - shift[:, None])
        shrink = tl.exp(highest - shift)
        total = total * shrink + tl.sum(attn, 1)
        value = load_block(v, v_m, v_d, key, 0, keys, channels, m, d)
        result = dot(attn.to(value.dtype), value, result * shrink[:, None], PRECISION)
        highest = new_highest
    store_rows(lse, row, rows, n, highest + tl.log(total))
    out = _head_of_tokens(out, heads, n, d)
    store_block(out, heads * d, 1, row, 0, rows, channels, n, d, result / total[:, None])


@jit
def _grad_rows_kernel(q, q_b, q_w, q_h, q_n, q_d, k, k_b, k_w, k_h, k_m, k_d, v, v_b, v_w, v_h, v_m, v_d,
                      prev, prev_b, prev_w, prev_h, prev_n, prev_m, mask, mask_b, mask_w, mask_h, mask_n, mask_m,
                      grad, grad_b, grad_w, grad_h, grad_n, grad_d, alpha, scale, out, logits, lse, grad_next,
                      grad_q, grad_logits, grad_alpha, grad_k, gk_b, gk_w, gk_h, gk_m, gk_d,
                      grad_v, gv_b, gv_w, gv_h, gv_m, gv_d, windows, heads, n, m, d: tl.constexpr,
                      HAS_PREV: tl.constexpr, HAS_MASK: tl.constexpr, HAS_NEXT: tl.constexpr, TOKENS: tl.constexpr,
                      BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """Stores L, grad_q, and the program's partial sum of the gradient of alpha; of one block also grad_k and grad_v."""
    if TOKENS > 0:
        n, m, prev_n, mask_n = TOKENS, TOKENS, TOKENS, TOKENS
    image = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * BLOCK
    rows, keys, channels = tl.arange(0, BLOCK), tl.arange(0, BLOCK), tl.arange(0, BLOCK_D)
    q = _head(q, windows, heads, q_b, q_w, q_h)
    k = _head(k, windows, heads, k_b, k_w, k_h)
    v = _head(v, windows, heads, v_b, v_w, v_h)
    prev = _head(prev, windows, heads, prev_b, prev_w, prev_h)
    mask = _head(mask, windows, heads, mask_b, mask_w, mask_h)
    grad = _head(grad, windows, heads, grad_b, grad_w, grad_h)
    grad_next += image * n * m
    grad_logits += image * n * m
    g = load_block(grad, grad_n, grad_d, row, 0, rows, channels, n, d)
    output = load_block(_head_of_tokens(out, heads, n, d), heads * d, 1, row, 0, rows, channels, n, d)
    row_sum = tl.sum(g.to(tl.float32) * output.to(tl.float32), 1)
    row_lse = load_rows(lse, row, rows, n)
    result = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for_prev = tl.zeros((BLOCK,), tl.float32)
    for key in range(0, m, BLOCK):
        attn = _probabilities(logits, mask, mask_n, mask_m, row_lse, row, key, rows, keys, n, m, HAS_MASK)
        value = load_block(v, v_m, v_d, key, 0, keys, channels, m, d)
        block = attn * (dot(g, tl.trans(value), None, PRECISION) - row_sum[:, None])
        if HAS_NEXT:
            block += load_block(grad_next, m, 1, row, key, rows, keys, n, m).to(tl.float32)
        if HAS_PREV:
            before = load_block(prev, prev_n, prev_m, row, key, rows, keys, n, m).to(tl.float32)
            for_prev += tl.sum(block * before, 1)
        block = block.to(grad_logits.dtype.element_ty)
        store_block(grad_logits, m, 1, row, key, rows, keys, n, m, block)
        k_block = load_block(k, k_m, k_d, key, 0, keys, channels, m, d)
        result = dot(block, k_block, result, PRECISION)
        if TOKENS > 0:
            query = load_block(q, q_n, q_d, row, 0, rows, channels, n, d)
            for_key = scale * dot(tl.trans(block), query, None, PRECISION)
            if HAS_PREV:
                for_key *= tl.load(alpha).to(tl.float32)
            grad_k = _head(grad_k, windows, heads, gk_b, gk_w, gk_h)
            store_block(grad_k, gk_m, gk_d, key, 0, keys, channels, m, d, for_key)
            for_value = dot(tl.trans(attn).to(g.dtype), g, None, PRECISION)
            grad_v = _head(grad_v, windows, heads, gv_b, gv_w, gv_h)
            store_block(grad_v, gv_m, gv_d, key, 0, keys, channels, m, d, for_value)
    result *= scale
    if HAS_PREV:
        query = load_block(q, q_n, q_d, row, 0, rows, channels, n, d)
        for_own = tl.sum(result * query.to(tl.float32), 1)
        tl.store(grad_alpha + image * tl.num_programs(1) + tl.program_id(1), tl.sum(for_own - for_prev))
        result *= tl.load(alpha).to(tl.float32)
    store_block(_head_of_tokens(grad_q, heads, n, d), heads * d, 1, row, 0, rows, channels, n, d, result)


@jit
def _grad_keys_kernel(q, q_b, q_w, q_h, q_n, q_d, mask, mask_b, mask_w, mask_h, mask_n, mask_m,
                      grad, grad_b, grad_w, grad_h, grad_n, grad_d, alpha, scale, logits, lse, grad_logits,
                      grad_k, gk_b, gk_w, gk_h, gk_m, gk_d, grad_v, gv_b, gv_w, gv_h, gv_m, gv_d,
                      windows, heads, n, m, d: tl.constexpr, HAS_PREV: tl.constexpr, HAS_MASK: tl.constexpr,
                      BLOCK: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    key = tl.program_id(1) * BLOCK
    rows, keys, channels = tl.arange(0, BLOCK), tl.arange(0, BLOCK), tl.arange(0, BLOCK_D)
    q = _head(q, windows, heads, q_b, q_w, q_h)
    mask = _head(mask, windows, heads, mask_b, mask_w, mask_h)
    grad = _head(grad, windows, heads, grad_b, grad_w, grad_h)
    grad_logits += tl.program_id(0).to(tl.int64) * n * m
    for_key = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for_value = tl.zeros((BLOCK, BLOCK_D), tl.float32)
    for row in range(0, n, BLOCK):
        row_lse = load_rows(lse, row, rows, n)
        attn = _probabilities(logits, mask, mask_n, mask_m, row_lse, row, key, rows, keys, n, m, HAS_MASK)
        block = load_block(grad_logits, m, 1, row, key, rows, keys, n, m)
        query = load_block(q, q_n, q_d, row, 0, rows, channels, n, d)
        for_key = dot(tl.trans(block), query, for_key, PRECISION)
        g = load_block(grad, grad_n, grad_d, row, 0, rows, channels, n, d)
        for_value = dot(tl.trans(attn).to(g.dtype), g, for_value, PRECISION)
    for_key *= scale
    if HAS_PREV:
        for_key *= tl.load(alpha).to(tl.float32)
    grad_k = _head(grad_k, windows, heads, gk_b, gk_w, gk_h)
    store_block(grad_k, gk_m, gk_d, key, 0, keys, channels, m, d, for_key)
    grad_v = _head(grad_v, windows, heads, gv_b, gv_w, gv_h)
    store_block(grad_v, gv_m, gv_d, key, 0, keys, channels, m, d, for_value)


@kernel_operator('residual_attention')
def forward(q: Tensor, k: Tensor, v: Tensor, prev: Tensor | None, alpha: Tensor, bias: Tensor | None,
            mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Returns O, S and the log-sum-exp of each row, ``(B, windows, heads, N)``."""
    (b, windows, heads, n, d), m = q.shape, k.shape[3]
    out, logits = tokens(q), q.new_empty((b, windows, heads, n, m))
    lse = q.new_empty((b, windows, heads, n), dtype=torch.float32)
    blocks = blocks_of(q, k, prev, bias, mask)
    launch(_forward_kernel, (b * windows * heads, ceil_div(n, blocks['BLOCK'])), *with_strides(q, k, v),
           *optional(prev, logits, q), *optional(bias, logits, q), *optional(mask, logits, q), alpha, d**-0.5,
           out, logits, lse, windows, heads, n, m, HAS_PREV=prev is not None, HAS_BIAS=bias is not None,
           HAS_MASK=mask is not None, **blocks)
    return out, logits, lse


@kernel_operator('residual_attention_grad_rows')
def grad_rows(q: Tensor, k: Tensor, v: Tensor, prev: Tensor | None, alpha: Tensor, mask: Tensor | None, out: Tensor,
              logits: Tensor, lse: Tensor, grad: Tensor,
              grad_next: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of q and the logits, partial sums of the gradient of alpha, and the gradients of k and v.

    Those of k and v have one dimension and no elements, unless the window is one block. ``grad_next`` is the gradient
    of the returned logits, and must be contiguous.
    """
    (b, windows, heads, n, d), m = q.shape, k.shape[3]
    blocks = blocks_of(q, k, prev, mask)
    grid = b * windows * heads, ceil_div(n, blocks['BLOCK'])
    grad_q, grad_logits = tokens(q), torch.empty_like(logits)
    grad_alpha = lse.new_empty((0, ) if prev is None else grid)
    grad_k, grad_v = ((torch.empty_like(x) for x in (k, v)) if blocks['TOKENS'] else
                      (x.new_empty((0, )) for x in (k, v)))
    of_keys = with_strides(grad_k, grad_v) if blocks['TOKENS'] else (grad_k, *[0] * 5, grad_v, *[0] * 5)
    launch(_grad_rows_kernel, grid, *with_strides(q, k, v), *optional(prev, logits, q), *optional(mask, logits, q),
           *with_strides(grad), alpha, d**-0.5, out, logits, lse, logits if grad_next is None else grad_next,
           grad_q, grad_logits, grad_alpha, *of_keys, windows, heads, n, m,
           HAS_PREV=prev is not None, HAS_MASK=mask is not None, HAS_NEXT=grad_next is not None, **blocks)
    return grad_q, grad_logits, grad_alpha, grad_k, grad_v


@kernel_operator('residual_attention_grad_keys')
def grad_keys(q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, mask: Tensor | None, has_prev: bool, logits: Tensor,
              lse: Tensor, grad: Tensor, grad_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the gradients of k and v, with the same memory layouts as k and v."""
    (b, windows, heads, n, d), m = q.shape, k.shape[3]
    grad_k, grad_v = torch.empty_like(k), torch.empty_like(v)
    launch(_grad_keys_kernel, (b * windows * heads, ceil_div(m, BLOCK)), *with_strides(q),
           *optional(mask, logits, q), *with_strides(grad), alpha, d**-0.5, logits, lse, grad_logits,
           *with_strides(grad_k, grad_v), windows, heads, n, m, d, HAS_PREV=has_prev, HAS_MASK=mask is not None,
           BLOCK=BLOCK, BLOCK_D=block_of(d), PRECISION=matmul_precision(q.dtype))
    return grad_k, grad_v


def tokens_of_block(q: Tensor, k: Tensor, *maps: Tensor | None) -> int:
    """Returns the number of a window's tokens, if the window is one block, else 0.

    Without tensor cores, such a block would not fit in registers.
    """
    n, d = q.shape[3:]
    is_window = isinstance(n, int) and n in WINDOWS and n == k.shape[3] and d <= MAX_WINDOW_CHANNELS
    has_rows = all(x is None or x.stride()[-2:] == (n, 1) for x in maps)
    return n if is_window and has_rows and q.dtype != torch.float32 else 0


def blocks_of(q: Tensor, k: Tensor, *maps: Tensor | None) -> dict[str, Any]:
    """Returns the constants of a kernel that depend on shapes and precision."""
    count, d = tokens_of_block(q, k, *maps), q.shape[4]
    return dict(d=d, TOKENS=count, BLOCK=block_of(count) if count else BLOCK, BLOCK_D=block_of(d),
                PRECISION=matmul_precision(q.dtype))


def tokens(q: Tensor) -> Tensor:
    """Allocates a tensor ``(B, windows, heads, n, d)``, stored as ``(B, windows, n, heads, d)``."""
    _, windows, heads, n, d = q.shape
    return q.new_empty_strided(q.shape, (windows * n * heads * d, n * heads * d, d, heads * d, 1))


def optional(x: Tensor | None, logits: Tensor, other: Tensor) -> tuple:
    """Returns a tensor and its strides when broadcast to the logits, or a placeholder that the kernel never reads."""
    if x is None:
        return other, 0, 0, 0, 0, 0
    return x, *(x if x.shape == logits.shape else x.expand(logits.shape)).stride()


class FirstDerivative(torch.autograd.Function):
    """Returns a gradient as it is, and raises an error if it is differentiated by any of its sources."""

    @staticmethod
    def forward(ctx, gradient: Tensor | None, *sources: Tensor | None) -> Tensor | None:
        return gradient

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError('kernels have only first derivatives; for second derivatives, compute the forward pass '
                           'inside `with mmvit_backbones.ops.plain_pytorch():`')


class Attend(torch.autograd.Function):
    """Returns :func:`forward` with gradients, except of the mask."""

    @staticmethod
    def forward(ctx, q, k, v, prev, alpha, bias, mask):  # without setup_context, which takes as long as a launch
        out, logits, lse = forward(q, k, v, prev, alpha, bias, mask)
        ctx.save_for_backward(q, k, v, prev, alpha, mask, out, logits, lse)
        ctx.bias_shape = None if bias is None else bias.shape  # a bias may be as large as the logits
        ctx.mark_non_differentiable(lse)
        ctx.set_materialize_grads(False)
        return out, logits, lse

    @staticmethod
    def backward(ctx, *grads):
        grad, grad_logits, _ = grads
        with torch.no_grad() if torch.is_grad_enabled() else nullcontext():  # the former takes time
            gradients = gradients_of(grad, grad_logits, ctx.bias_shape, *ctx.saved_tensors)
        if torch.is_grad_enabled() and not is_traced(ctx.saved_tensors[0]):  # create_graph=True
            gradients = [FirstDerivative.apply(x, *ctx.saved_tensors, *grads) for x in gradients]
        return *gradients, None


def gradients_of(grad: Tensor | None, grad_logits: Tensor | None, bias_shape: torch.Size | None, q: Tensor, k: Tensor,
                 v: Tensor, prev: Tensor | None, alpha: Tensor, mask: Tensor | None, out: Tensor, logits: Tensor,
                 lse: Tensor) -> list[Tensor | None]:
    """Returns the gradients of q, k, v, prev, alpha and the bias, from those of both results, None if unused."""
    grad = torch.zeros_like(out) if grad is None else grad
    grad_logits = None if grad_logits is None else grad_logits.contiguous()
    grad_q, grad_logits, grad_alpha, grad_k, grad_v = grad_rows(q, k, v, prev, alpha, mask, out, logits, lse, grad,
                                                                grad_logits)
    if grad_k.ndim == 1:  # a question about sizes would be answered differently while a graph is traced
        grad_k, grad_v = grad_keys(q, k, v, alpha, mask, prev is not None, logits, lse, grad, grad_logits)
    grad_bias = None if bias_shape is None else grad_logits.sum_to_size(bias_shape)
    if prev is None:
        return [grad_q, grad_k, grad_v, None, None, grad_bias]
    grad_prev = torch.rsub(alpha, 1) * grad_logits.sum_to_size(prev.shape)
    return [grad_q, grad_k, grad_v, grad_prev, grad_alpha.sum(dtype=alpha.dtype), grad_bias]


def attend(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Returns O and S; without gradients, by the kernel alone, because an autograd function takes time."""
    is_differentiated = torch.is_grad_enabled() and any([x is not None and x.requires_grad for x in arguments])
    out, logits, _ = (Attend.apply if is_differentiated else forward)(*arguments)
    return out, logits


def run(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor, bias: Tensor | None,
        mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns the output and the logits. Arguments without a window dimension are processed as one window."""
    alpha = alpha if torch.is_tensor(alpha) else torch.full((), alpha, device=q.device)
    if q.ndim == 5:
        return attend(q, k, v, prev_logits, alpha, bias, mask)
    q, k, v = (x.unsqueeze(1) for x in (q, k, v))
    prev_logits, bias, mask = (x if x is None or x.ndim < 4 else x.unsqueeze(1) for x in (prev_logits, bias, mask))
    out, logits = attend(q, k, v, prev_logits, alpha, bias, mask)
    return out.squeeze(1), logits.squeeze(1)
