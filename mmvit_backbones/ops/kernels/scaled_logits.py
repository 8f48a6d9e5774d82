"""Triton kernel of :func:`mmvit_backbones.ops.normalized_attention.scaled_logits`: products of strided heads."""
import triton
import triton.language as tl
from torch import Tensor

from ..backends import block_of, kernel_operator, launch, precision_of
from .blocks import dot, head_of, load_block, store_block


@triton.jit
def _product_kernel(a, a_b, a_h, a_n, a_m, b, b_b, b_h, b_m, b_d, out, out_b, out_h, out_n, out_d, heads, n, m, d,
                    scale, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
                    PRECISION: tl.constexpr):
    """``out = scale * a b``: a block of ``out`` per program."""
    a = head_of(a, heads, a_b, a_h)
    b = head_of(b, heads, b_b, b_h)
    blocks = tl.cdiv(d, BLOCK_D)
    row, column = tl.program_id(1) // blocks * BLOCK_N, tl.program_id(1) % blocks * BLOCK_D
    rows, inner, columns = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    total = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for start in range(0, m, BLOCK_M):
        x = load_block(a, a_n, a_m, row, start, rows, inner, n, m)
        y = load_block(b, b_m, b_d, start, column, inner, columns, m, d)
        total = dot(x, y, total, PRECISION)
    store_block(head_of(out, heads, out_b, out_h), out_n, out_d, row, column, rows, columns, n, d, scale * total)


@kernel_operator('scaled_product')
def scaled_product(a: Tensor, b: Tensor, scale: float, as_map: bool = True) -> Tensor:
    """``scale * a b`` of ``(B, heads, N, M)`` and ``(B, heads, M, d)``, any strides: ``(B, heads, N, d)``.

    ``as_map`` lays it out as ``(B, N, heads, d)``.
    """
    (batch, heads, n, m), d = a.shape, b.shape[3]
    out = b.new_empty((batch, n, heads, d)).transpose(1, 2) if as_map else b.new_empty((batch, heads, n, d))
    block_n, block_d = block_of(n, 64), block_of(d)
    launch(_product_kernel, (batch * heads, triton.cdiv(n, block_n) * triton.cdiv(d, block_d)), a, *a.stride(), b,
           *b.stride(), out, *out.stride(), heads, n, m, d, scale, BLOCK_N=block_n, BLOCK_M=block_of(m, 64),
           BLOCK_D=block_d, PRECISION=precision_of(b))
    return out
