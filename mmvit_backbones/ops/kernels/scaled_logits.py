"""Triton kernels of :func:`mmvit_backbones.ops.normalized_attention.scaled_logits`: products of strided heads."""
import triton
import triton.language as tl
from torch import Tensor

from ..backends import block_of, kernel_operator, launch, precision_of
from .blocks import dot, head_of, load_block, store_block


@triton.jit
def _outer_kernel(a, a_b, a_h, a_n, a_d, b, b_b, b_h, b_n, b_d, out, heads, n, m, d, scale,
                  BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    """``out = scale * a b^T``: a block of ``out`` per program."""
    image = tl.program_id(0)
    blocks = tl.cdiv(m, BLOCK_M)
    row, column = tl.program_id(1) // blocks * BLOCK_N, tl.program_id(1) % blocks * BLOCK_M
    rows, columns, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    x = load_block(head_of(a, heads, a_b, a_h), a_n, a_d, row, 0, rows, channels, n, d)
    y = load_block(head_of(b, heads, b_b, b_h), b_n, b_d, column, 0, columns, channels, m, d)
    result = scale * dot(x, tl.trans(y), None, PRECISION)
    store_block(out + image.to(tl.int64) * n * m, m, 1, row, column, rows, columns, n, m, result)


@triton.jit
def _product_kernel(a, a_b, a_h, a_n, a_m, b, b_b, b_h, b_m, b_d, out, out_b, out_h, out_n, out_d, heads, n, m, d,
                    scale, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
                    PRECISION: tl.constexpr):
    """``out = scale * a b``: a block of rows per program."""
    a = head_of(a, heads, a_b, a_h)
    b = head_of(b, heads, b_b, b_h)
    row = tl.program_id(1) * BLOCK_N
    rows, columns, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for column in range(0, m, BLOCK_M):
        x = load_block(a, a_n, a_m, row, column, rows, columns, n, m)
        y = load_block(b, b_m, b_d, column, 0, columns, channels, m, d)
        total = dot(x, y, total, PRECISION)
    store_block(head_of(out, heads, out_b, out_h), out_n, out_d, row, 0, rows, channels, n, d, scale * total)


@kernel_operator('scaled_logits')
def scaled_logits(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """``scale * q k^T`` of ``(B, heads, N, d)`` and ``(B, heads, M, d)``, any strides: ``(B, heads, N, M)``."""
    (b, heads, n, d), m = q.shape, k.shape[2]
    out = q.new_empty((b, heads, n, m))
    block_n, block_m = block_of(n, 64), block_of(m, 64)
    launch(_outer_kernel, (b * heads, triton.cdiv(n, block_n) * triton.cdiv(m, block_m)), q, *q.stride(), k,
           *k.stride(), out, heads, n, m, d, scale, BLOCK_N=block_n, BLOCK_M=block_m, BLOCK_D=block_of(d),
           PRECISION=precision_of(q))
    return out


@kernel_operator('scaled_product')
def scaled_product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``scale * a b`` of ``(B, heads, N, M)`` and ``(B, heads, M, d)``: ``(B, heads, N, d)``, laid out as a map."""
    (batch, heads, n, m), d = a.shape, b.shape[3]
    out = b.new_empty((batch, n, heads, d)).transpose(1, 2)
    block_n = block_of(n, 64)
    launch(_product_kernel, (batch * heads, triton.cdiv(n, block_n)), a, *a.stride(), b, *b.stride(), out,
           *out.stride(), heads, n, m, d, scale, BLOCK_N=block_n, BLOCK_M=block_of(m, 64), BLOCK_D=block_of(d),
           PRECISION=precision_of(b))
    return out
