"""What the kernels have in common."""
import triton
import triton.language as tl

from .. import backends

# The interpreter multiplies the bits of bfloat16 as if they were integers.
DOT_IN_FLOAT32 = tl.constexpr(backends.INTERPRETED)


@triton.jit
def dot(a, b, total, PRECISION: tl.constexpr):
    """``total + a b`` in float32; ``total`` may be None."""
    if DOT_IN_FLOAT32:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def rows_block(x, stride_n, stride_d, rows, n, channels, d):
    """Rows of ``(n, d)``, zero outside."""
    offsets = rows[:, None].to(tl.int64) * stride_n + channels[None, :] * stride_d
    return tl.load(x + offsets, mask=(rows[:, None] < n) & (channels[None, :] < d), other=0.)
