"""Functions that Triton kernels share."""
import triton.language as tl

from . import INTERPRETED
from .launch import jit

# Triton's interpreter wrongly multiplies bfloat16 numbers as if they were integers.
DOT_IN_FLOAT32 = tl.constexpr(INTERPRETED)


@jit
def dot(a, b, total, PRECISION: tl.constexpr):
    """Computes ``total + a b`` ``(n, m)`` in float32 from ``a (n, d)`` and ``b (d, m)``; ``total`` may be None."""
    if DOT_IN_FLOAT32:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@jit
def block_at(x, stride_n, stride_m, row, column, rows, columns):
    """Returns pointers ``(rows, columns)`` to the elements of a block that starts at (row, column) of a matrix.

    ``x`` points to the first element of the matrix; ``rows`` and ``columns`` are ranges that start at 0. Pointers may
    be outside the matrix, so they must be used with the mask of :func:`is_inside`.
    Only the start is computed in 64 bits. Offsets in the block have 32 bits, which need half as many registers.
    """
    return x + tl.cast(row, tl.int64) * stride_n + tl.cast(column, tl.int64) * stride_m + (
        rows[:, None] * stride_n + columns[None, :] * stride_m)


@jit
def is_inside(row, column, rows, columns, n, m):
    """Returns a mask ``(rows, columns)`` of the block's elements that are inside a matrix of shape ``(n, m)``."""
    return (rows[:, None] < n - row) & (columns[None, :] < m - column)


@jit
def load_block(x, stride_n, stride_m, row, column, rows, columns, n, m):
    """Loads :func:`block_at` (row, column) of a matrix of shape ``(n, m)``, with zeros outside the matrix."""
    return tl.load(block_at(x, stride_n, stride_m, row, column, rows, columns),
                   mask=is_inside(row, column, rows, columns, n, m), other=0.)


@jit
def store_block(x, stride_n, stride_m, row, column, rows, columns, n, m, block):
    """Stores the elements of a block that are inside a matrix of shape ``(n, m)``."""
    tl.store(block_at(x, stride_n, stride_m, row, column, rows, columns), block.to(x.dtype.element_ty),
             mask=is_inside(row, column, rows, columns, n, m))


@jit
def load_rows(x, row, rows, n):
    """Loads one number per row of the program's head, with zeros beyond its n rows; ``x`` points to ``(heads, n)``."""
    return tl.load(x + tl.program_id(0).to(tl.int64) * n + row + rows, mask=rows < n - row, other=0.)


@jit
def store_rows(x, row, rows, n, values):
    """Stores one number per row of the program's head, as :func:`load_rows` loads them."""
    tl.store(x + tl.program_id(0).to(tl.int64) * n + row + rows, values, mask=rows < n - row)
