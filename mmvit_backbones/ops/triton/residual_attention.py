"""Triton kernels of :mod:`mmvit_backbones.ops.residual_attention`.

Forward, with ``S = own * q k^T + keep * prev + bias`` and ``P = softmax(S + mask)``: the output ``P v``, the logits S
and the log-sum-exp of every row. Backward, for gradients G of the output and H of the logits::

    D = G v^T
    L = P * (D - sum over keys of P * D) + H        the gradient of S
    grad_q = own * L k,  grad_k = own * L^T q,  grad_v = P^T G,  grad_prev = keep * L,  grad_bias = L

Every tensor is ``(batch, windows, heads, ...)`` with any strides, which are 0 where it is broadcast. A program has a
block of rows of one head, ``_grad_keys_kernel`` a block of keys. With decomposed positions, keys form a grid
``(height, width)``: ``by_row`` is added to the logits of a row of keys, ``by_column`` to those of a column. Without,
keys are one row.

The previous logits, and the gradient H, may be coarser than S: one element for a cell, a square of keys (for H, of
queries as well). The gradient of the previous logits has S's shape.
"""
import torch
import triton
import triton.language as tl
from torch import Tensor

from .blocks import block_at, dot, is_inside, load_block, load_rows, store_block, store_rows
from .launch import block_of, kernel_operator, launch, precision_of, with_strides

BLOCK_N, BLOCK_M = 64, 32  # as large as registers allow


@triton.jit
def _head(x, windows, heads, stride_b, stride_w, stride_h):
    """Where the program's head begins in ``(batch, windows, heads, ...)``."""
    image = tl.program_id(0)
    return x + (image // heads // windows).to(tl.int64) * stride_b + (image // heads % windows).to(
        tl.int64) * stride_w + (image % heads).to(tl.int64) * stride_h


@triton.jit
def _cells(first, others, width, CELL: tl.constexpr):
    """The cell of a token in a map that wide, and those of others, both counted from the first."""
    if CELL > 1:
        cell = first // width // CELL * (width // CELL) + first % width // CELL
        token = first + others
        others = token // width // CELL * (width // CELL) + token % width // CELL - cell
        first = cell
    return first, others


@triton.jit
def _load_prev(prev, stride_n, stride_m, row, y, x, rows, keys, n, width, CELL: tl.constexpr):
    """A block of the previous logits, for a part of a row of keys."""
    key = y // CELL * (width // CELL)
    return load_block(prev, stride_n, stride_m, row, key + x // CELL, rows, keys // CELL, n,
                      key + width // CELL).to(tl.float32)


@triton.jit
def _load_next(grad_next, heads, row, key, rows, keys, inside, n, m, QUERY_CELL: tl.constexpr, KEY_CELL: tl.constexpr):
    """A block of the gradient H, from that of the means over cells and that many heads, by cells' numbers."""
    QUERIES: tl.constexpr = QUERY_CELL * QUERY_CELL
    KEYS: tl.constexpr = KEY_CELL * KEY_CELL
    grad_next += (tl.program_id(0) // heads).to(tl.int64) * (n // QUERIES) * (m // KEYS)
    block = tl.load(block_at(grad_next, m // KEYS, 1, row, key, rows, keys), mask=inside, other=0.)
    return block.to(tl.float32) / (QUERIES * KEYS * heads)


@triton.jit
def _probabilities(logits, mask, mask_n, mask_m, row_lse, row, key, rows, keys, n, m, end,
                   HAS_MASK: tl.constexpr):
    """A block of the softmax map ``(n, m)``, zero from key ``end`` on."""
    block = load_block(logits, m, 1, row, key, rows, keys, n, end).to(tl.float32)
    if HAS_MASK:
        block += load_block(mask, mask_n, mask_m, row, key, rows, keys, n, end).to(tl.float32)
    return tl.where(is_inside(row, key, rows, keys, n, end), tl.exp(block - row_lse[:, None]), 0.)


@triton.jit
def _forward_kernel(q, q_b, q_w, q_h, q_n, q_d, k, k_b, k_w, k_h, k_m, k_d, v, v_b, v_w, v_h, v_m, v_d,
                    prev, prev_b, prev_w, prev_h, prev_n, prev_m, bias, bias_b, bias_w, bias_h, bias_n, bias_m,
                    mask, mask_b, mask_w, mask_h, mask_n, mask_m, by_row, by_column, learned, alpha, scale,
                    out, out_b, out_w, out_h, out_n, out_d, logits, lse, windows, heads, n, m, height, width, d, dv,
                    HAS_PREV: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_MASK: tl.constexpr,
                    HAS_POSITIONS: tl.constexpr, LEARNED: tl.constexpr, QUERY_SKIP: tl.constexpr,
                    PREV_CELL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr,
                    PRECISION: tl.constexpr):
    image = tl.program_id(0)
    row = tl.program_id(1) * BLOCK_N
    rows, keys, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    k = _head(k, windows, heads, k_b, k_w, k_h)
    v = _head(v, windows, heads, v_b, v_w, v_h)
    prev = _head(prev, windows, heads, prev_b, prev_w, prev_h)
    bias = _head(bias, windows, heads, bias_b, bias_w, bias_h)
    mask = _head(mask, windows, heads, mask_b, mask_w, mask_h)
    logits += image.to(tl.int64) * n * m
    if LEARNED:
        alpha = tl.load(learned).to(tl.float32)
    query = load_block(_head(q, windows, heads, q_b, q_w, q_h), q_n, q_d, row, 0, rows, channels, n, d)
    highest = tl.full((BLOCK_N,), -float('inf'), tl.float32)
    total = tl.zeros((BLOCK_N,), tl.float32)
    result = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    for y in range(0, height):
        if HAS_POSITIONS:
            for_row = tl.load(by_row + (image.to(tl.int64) * n + row + rows) * height + y, mask=rows < n - row,
                              other=0.)
        for x in range(0, width, BLOCK_M):
            key, end = y * width + x, y * width + width
            k_block = load_block(k, k_m, k_d, key, 0, keys, channels, end, d)
            block = scale * dot(query, tl.trans(k_block), None, PRECISION)
            if HAS_PREV:
                before = _load_prev(prev, prev_n, prev_m, row, y, x, rows, keys, n, width, PREV_CELL)
                block = alpha * block + (1 - alpha) * before
            if HAS_POSITIONS:
                for_column = load_block(by_column + image.to(tl.int64) * n * width, width, 1, row, x, rows, keys, n,
                                        width)
                block += for_row[:, None].to(tl.float32) + for_column.to(tl.float32)
            if HAS_BIAS:
                block += load_block(bias, bias_n, bias_m, row, key, rows, keys, n, end).to(tl.float32)
            block = block.to(logits.dtype.element_ty)
            store_block(logits, m, 1, row, key, rows, keys, n, end, block)
            block = block.to(tl.float32)
            if HAS_MASK:
                block += load_block(mask, mask_n, mask_m, row, key, rows, keys, n, end).to(tl.float32)
            block = tl.where(keys[None, :] < width - x, block, -float('inf'))
            new_highest = tl.maximum(highest, tl.max(block, 1))
            attn = tl.exp(block - new_highest[:, None])
            shrink = tl.exp(highest - new_highest)
            total = total * shrink + tl.sum(attn, 1)
            value = load_block(v, v_m, v_d, key, 0, keys, channels, end, dv)
            result = dot(attn.to(value.dtype), value, result * shrink[:, None], PRECISION)
            highest = new_highest
    result /= total[:, None]
    if QUERY_SKIP:
        result += query.to(tl.float32)
    store_rows(lse, row, rows, n, highest + tl.log(total))
    out = _head(out, windows, heads, out_b, out_w, out_h)
    store_block(out, out_n, out_d, row, 0, rows, channels, n, dv, result)


@triton.jit
def _grad_rows_kernel(q, q_b, q_w, q_h, q_n, q_d, k, k_b, k_w, k_h, k_m, k_d, v, v_b, v_w, v_h, v_m, v_d,
                      prev, prev_b, prev_w, prev_h, prev_n, prev_m, mask, mask_b, mask_w, mask_h, mask_n, mask_m,
                      grad, grad_b, grad_w, grad_h, grad_n, grad_d, grad_next, next_heads,
                      query_width, learned, alpha, scale, logits, lse, grad_q, out_b, out_w, out_h, out_n,
                      out_d, grad_prev, grad_logits, delta, grad_alpha, grad_by_row, grad_by_column, windows, heads, n,
                      m, height, width, d, dv,
                      HAS_PREV: tl.constexpr, HAS_MASK: tl.constexpr, HAS_POSITIONS: tl.constexpr,
                      HAS_NEXT: tl.constexpr, LEARNED: tl.constexpr, QUERY_SKIP: tl.constexpr,
                      WRITE_LOGITS: tl.constexpr, PREV_CELL: tl.constexpr, COARSE: tl.constexpr,
                      QUERY_CELL: tl.constexpr, KEY_CELL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr,
                      BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    image = tl.program_id(0)
    row = tl.program_id(1) * BLOCK_N
    rows, keys, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    k = _head(k, windows, heads, k_b, k_w, k_h)
    v = _head(v, windows, heads, v_b, v_w, v_h)
    prev = _head(prev, windows, heads, prev_b, prev_w, prev_h)
    mask = _head(mask, windows, heads, mask_b, mask_w, mask_h)
    first = image.to(tl.int64) * n * m
    if LEARNED:
        alpha = tl.load(learned).to(tl.float32)
    grad = _head(grad, windows, heads, grad_b, grad_w, grad_h)
    g = load_block(grad, grad_n, grad_d, row, 0, rows, channels, n, dv)
    row_lse = load_rows(lse, row, rows, n)
    row_sum = tl.zeros((BLOCK_N,), tl.float32)
    for key in range(0, m, BLOCK_M):
        attn = _probabilities(logits + first, mask, mask_n, mask_m, row_lse, row, key, rows, keys, n, m, m,
                              HAS_MASK)
        value = load_block(v, v_m, v_d, key, 0, keys, channels, m, dv)
        row_sum += tl.sum(attn * dot(g, tl.trans(value), None, PRECISION), 1)
    store_rows(delta, row, rows, n, row_sum)
    result = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    blended = tl.zeros((BLOCK_N,), tl.float32)
    row_cell, row_cells = _cells(row, rows, query_width, QUERY_CELL)
    for x in range(0, width, BLOCK_M):
        for_column = tl.zeros((BLOCK_N, BLOCK_M), tl.float32)
        for y in range(0, height):
            key, end = y * width + x, y * width + width
            attn = _probabilities(logits + first, mask, mask_n, mask_m, row_lse, row, key, rows, keys, n, m, end,
                                  HAS_MASK)
            value = load_block(v, v_m, v_d, key, 0, keys, channels, end, dv)
            block = attn * (dot(g, tl.trans(value), None, PRECISION) - row_sum[:, None])
            if COARSE:
                block += _load_next(
                    grad_next, next_heads, row_cell, y // KEY_CELL * (width // KEY_CELL) + x // KEY_CELL, row_cells,
                    keys // KEY_CELL, is_inside(row, key, rows, keys, n, end), n, m, QUERY_CELL, KEY_CELL)
            elif HAS_NEXT:
                block += load_block(grad_next + first, m, 1, row, key, rows, keys, n, end).to(tl.float32)
            if HAS_POSITIONS:
                for_column += block
                # Parts of the sums, where a row of keys is more than a block.
                part = grad_by_row + (x // BLOCK_M * tl.num_programs(0) + image).to(tl.int64) * n * height
                tl.store(part + (row + rows) * height + y, tl.sum(block, 1), mask=rows < n - row)
            if WRITE_LOGITS:
                store_block(grad_logits + first, m, 1, row, key, rows, keys, n, end, block)
            if HAS_PREV:
                store_block(grad_prev + first, m, 1, row, key, rows, keys, n, end, (1 - alpha) * block)
                if LEARNED:
                    before = _load_prev(prev, prev_n, prev_m, row, y, x, rows, keys, n, width, PREV_CELL)
                    blended += tl.sum(block * before, 1)
            k_block = load_block(k, k_m, k_d, key, 0, keys, channels, end, d)
            result = dot(block.to(k_block.dtype), k_block, result, PRECISION)
        if HAS_POSITIONS:
            store_block(grad_by_column + image.to(tl.int64) * n * width, width, 1, row, x, rows, keys, n, width,
                        for_column)
    result *= scale
    if HAS_PREV:
        if LEARNED:
            query = load_block(_head(q, windows, heads, q_b, q_w, q_h), q_n, q_d, row, 0, rows, channels, n, d)
            own = tl.sum(result * query.to(tl.float32), 1)
            tl.store(grad_alpha + image * tl.num_programs(1) + tl.program_id(1),
                     tl.sum(tl.where(rows < n - row, own - blended, 0.)))
        result *= alpha
    if QUERY_SKIP:
        result += g.to(tl.float32)
    grad_q = _head(grad_q, windows, heads, out_b, out_w, out_h)
    store_block(grad_q, out_n, out_d, row, 0, rows, channels, n, d, result)


@triton.jit
def _grad_keys_kernel(q, q_b, q_w, q_h, q_n, q_d, v, v_b, v_w, v_h, v_m, v_d,
                      mask, mask_b, mask_w, mask_h, mask_n, mask_m, grad, grad_b, grad_w, grad_h, grad_n, grad_d,
                      grad_next, next_heads, query_width, key_width, learned, alpha, scale, logits, lse, delta,
                      grad_k, gk_b, gk_w, gk_h, gk_m, gk_d, grad_v, gv_b, gv_w, gv_h, gv_m, gv_d,
                      windows, heads, n, m, d, dv,
                      HAS_PREV: tl.constexpr, HAS_MASK: tl.constexpr, HAS_NEXT: tl.constexpr, LEARNED: tl.constexpr,
                      COARSE: tl.constexpr, QUERY_CELL: tl.constexpr, KEY_CELL: tl.constexpr,
                      BLOCK_N: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_D: tl.constexpr, PRECISION: tl.constexpr):
    image = tl.program_id(0)
    key = tl.program_id(1) * BLOCK_M
    rows, keys, channels = tl.arange(0, BLOCK_N), tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    q = _head(q, windows, heads, q_b, q_w, q_h)
    grad = _head(grad, windows, heads, grad_b, grad_w, grad_h)
    mask = _head(mask, windows, heads, mask_b, mask_w, mask_h)
    first = image.to(tl.int64) * n * m
    if HAS_PREV:
        if LEARNED:
            alpha = tl.load(learned).to(tl.float32)
        scale *= alpha
    value = load_block(_head(v, windows, heads, v_b, v_w, v_h), v_m, v_d, key, 0, keys, channels, m, dv)
    for_key = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for_value = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    key_cell, key_cells = _cells(key, keys, key_width, KEY_CELL)
    for row in range(0, n, BLOCK_N):
        row_lse = load_rows(lse, row, rows, n)
        row_sum = load_rows(delta, row, rows, n)
        attn = _probabilities(logits + first, mask, mask_n, mask_m, row_lse, row, key, rows, keys, n, m, m,
                              HAS_MASK)
        g = load_block(grad, grad_n, grad_d, row, 0, rows, channels, n, dv)
        block = attn * (dot(g, tl.trans(value), None, PRECISION) - row_sum[:, None])
        if COARSE:
            row_cell, row_cells = _cells(row, rows, query_width, QUERY_CELL)
            block += _load_next(grad_next, next_heads, row_cell, key_cell, row_cells, key_cells,
                                is_inside(row, key, rows, keys, n, m), n, m, QUERY_CELL, KEY_CELL)
        elif HAS_NEXT:
            block += load_block(grad_next + first, m, 1, row, key, rows, keys, n, m).to(tl.float32)
        query = load_block(q, q_n, q_d, row, 0, rows, channels, n, d)
        for_key = dot(tl.trans(block).to(query.dtype), query, for_key, PRECISION)
        for_value = dot(tl.trans(attn).to(g.dtype), g, for_value, PRECISION)
    grad_k = _head(grad_k, windows, heads, gk_b, gk_w, gk_h)
    store_block(grad_k, gk_m, gk_d, key, 0, keys, channels, m, d, scale * for_key)
    grad_v = _head(grad_v, windows, heads, gv_b, gv_w, gv_h)
    store_block(grad_v, gv_m, gv_d, key, 0, keys, channels, m, dv, for_value)


def _optional(x: Tensor | None, shape: tuple[int, ...], other: Tensor) -> tuple:
    """A broadcast argument and its strides; where there is none, the kernel never reads what stands for it."""
    if x is None:
        return other, 0, 0, 0, 0, 0
    return x, *x.expand(shape).stride()


def blocks_of(width: int, has_positions: bool, has_cells: bool) -> tuple[int, int]:
    """Rows and keys of a block: fewer where positions, and where cells, take registers."""
    return BLOCK_N // 2 if has_cells else BLOCK_N, BLOCK_M // 2 if has_positions else block_of(width, BLOCK_M)


@kernel_operator('residual_attention')
def forward(q: Tensor, k: Tensor, v: Tensor, prev: Tensor | None, bias: Tensor | None, mask: Tensor | None,
            by_row: Tensor | None, by_column: Tensor | None, learned: Tensor | None, alpha: float, scale: float,
            query_skip: bool, prev_cell: int) -> tuple[Tensor, Tensor, Tensor]:
    """Output, logits and log-sum-exp ``(B, windows, heads, N)``."""
    b, windows, heads, n, d = q.shape
    m, dv = v.shape[3:]
    shape = b, windows, heads, n, m
    height, width = (1, m) if by_row is None else (by_row.shape[-1], by_column.shape[-1])
    out = v.new_empty((b, windows, n, heads, dv)).transpose(2, 3)
    logits, lse = q.new_empty(shape), q.new_empty(shape[:4], dtype=torch.float32)
    block_n, block_m = blocks_of(width, by_row is not None, prev_cell > 1)
    launch(_forward_kernel, (b * windows * heads, triton.cdiv(n, block_n)), *with_strides(q, k, v),
           *_optional(prev, (*shape[:4], m // prev_cell**2), q), *_optional(bias, shape, q),
           *_optional(mask, shape, q), q if by_row is None else by_row, q if by_column is None else by_column,
           q if learned is None else learned, alpha, scale, *with_strides(out), logits, lse, windows, heads, n, m,
           height, width, d, dv, HAS_PREV=prev is not None, HAS_BIAS=bias is not None, HAS_MASK=mask is not None,
           HAS_POSITIONS=by_row is not None, LEARNED=learned is not None, QUERY_SKIP=query_skip, PREV_CELL=prev_cell,
           BLOCK_N=block_n, BLOCK_M=block_m, BLOCK_D=block_of(max(d, dv)), PRECISION=precision_of(q))
    return out, logits, lse


@kernel_operator('residual_attention_grad_rows')
def grad_rows(q: Tensor, k: Tensor, v: Tensor, prev: Tensor | None, blended: bool, mask: Tensor | None,
              learned: Tensor | None, logits: Tensor, lse: Tensor, grad: Tensor, grad_next: Tensor | None, alpha: float,
              scale: float, query_skip: bool, write_logits: bool, height: int, width: int, prev_cell: int,
              query_width: int, coarse: bool, query_cell: int, key_cell: int,
              next_heads: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, of the previous logits, of the logits, and what else is summed along rows.

    That is ``P * D``, parts of the gradient of alpha, parts of that of ``by_row``, and that of ``by_column``, where
    ``height`` is not 0.

    ``blended`` tells whether there are previous logits, which only the gradient of alpha reads. ``grad_next`` is dense;
    if ``coarse``, that of means over cells and ``next_heads`` heads. What is not needed is empty.
    """
    (b, windows, heads, n, d), (m, dv) = q.shape, v.shape[3:]
    grad_q, delta = torch.empty_like(q), torch.empty_like(lse)
    grad_prev = q.new_empty(logits.shape if blended else (0, ))
    grad_logits = q.new_empty(logits.shape if write_logits else (0, ))
    has_positions = height > 0
    if not has_positions:
        height, width = 1, m
    block_n, block_m = blocks_of(width, has_positions, coarse or prev_cell > 1)
    parts = triton.cdiv(width, block_m)
    grad_alpha = lse.new_empty((b * windows * heads, triton.cdiv(n, block_n)) if learned is not None else (0, ))
    grad_by_row = (q if parts == 1 else lse).new_empty((parts, *lse.shape, height) if has_positions else (0, ))
    grad_by_column = q.new_empty((*lse.shape, width) if has_positions else (0, ))
    launch(_grad_rows_kernel, (b * windows * heads, triton.cdiv(n, block_n)), *with_strides(q, k, v),
           *_optional(prev, (*lse.shape, m // prev_cell**2), q), *_optional(mask, logits.shape, q),
           *with_strides(grad), q if grad_next is None else grad_next, next_heads, query_width,
           q if learned is None else learned, alpha, scale, logits, lse, *with_strides(grad_q), grad_prev,
           grad_logits, delta, grad_alpha, grad_by_row, grad_by_column, windows, heads, n, m, height, width, d, dv,
           HAS_PREV=blended, HAS_MASK=mask is not None, HAS_POSITIONS=has_positions, HAS_NEXT=grad_next is not None,
           LEARNED=learned is not None, QUERY_SKIP=query_skip, WRITE_LOGITS=write_logits, PREV_CELL=prev_cell,
           COARSE=coarse, QUERY_CELL=query_cell, KEY_CELL=key_cell, BLOCK_N=block_n, BLOCK_M=block_m,
           BLOCK_D=block_of(max(d, dv)), PRECISION=precision_of(q))
    return grad_q, grad_prev, grad_logits, delta, grad_alpha, grad_by_row, grad_by_column


@kernel_operator('residual_attention_grad_keys')
def grad_keys(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, learned: Tensor | None, logits: Tensor,
              lse: Tensor, delta: Tensor, grad: Tensor, grad_next: Tensor | None, alpha: float, scale: float,
              blended: bool, width: int, query_width: int, coarse: bool, query_cell: int, key_cell: int,
              next_heads: int) -> tuple[Tensor, Tensor]:
    """Gradients of k and v."""
    (b, windows, heads, n, d), (m, dv) = q.shape, v.shape[3:]
    grad_k, grad_v = torch.empty_like(k), torch.empty_like(v)
    launch(_grad_keys_kernel, (b * windows * heads, triton.cdiv(m, BLOCK_M)), *with_strides(q, v),
           *_optional(mask, logits.shape, q), *with_strides(grad), q if grad_next is None else grad_next, next_heads,
           query_width, width, q if learned is None else learned, alpha, scale, logits, lse, delta,
           *with_strides(grad_k, grad_v), windows, heads, n, m, d, dv, HAS_PREV=blended, HAS_MASK=mask is not None,
           HAS_NEXT=grad_next is not None, LEARNED=learned is not None, COARSE=coarse, QUERY_CELL=query_cell,
           KEY_CELL=key_cell, BLOCK_N=BLOCK_M, BLOCK_M=BLOCK_M, BLOCK_D=block_of(max(d, dv)),
           PRECISION=precision_of(q))
    return grad_k, grad_v
