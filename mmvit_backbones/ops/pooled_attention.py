"""Residual attention between maps of pooled queries and keys, whose logits are resized from block to block (ReMViTv2).

Logits are averaged where the next block has fewer queries or keys, and over heads where their number changes. Where
keys become more, the next block upsamples.
"""
from collections.abc import Sequence

import torch
from torch import Tensor

from ..utils import versions
from . import backends
from .residual_attention import TritonAttention, mean_of_cells, plain


def pooled_attention(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: Tensor, scale: float,
                     positions: tuple[Tensor, Tensor], next_shape: Sequence[int] | None = None,
                     backend: str | None = None) -> tuple[Tensor, Tensor]:
    """``softmax(S) v + q``, with ``S = alpha * scale * q k^T + (1 - alpha) * prev_logits + positions``, and ``S``.

    Without ``prev_logits``, ``S = scale * q k^T + positions``. Where grids are equal or twice as large, the Triton
    kernels read coarser previous logits, and the gradient of averaged logits, without resizing them.

    Args:
        q (Tensor): ``(B, heads, h, w, d)``.
        k, v (Tensor): ``(B, heads, h', w', d)``, in the dtype of ``q``.
        prev_logits (Tensor | None): ``(B, heads or 1, h, w, ...)``, what :func:`pool_logits` makes of the logits of the
            block before; there may be fewer keys.
        alpha, scale, backend: As of :func:`residual_attention`.
        positions (tuple[Tensor, Tensor]): ``(B, heads, h * w, h')`` for the row of a key, ``(B, heads, h * w, w')`` for
            its column.
        next_shape (Sequence[int] | None): ``(heads, h, w, h', w')`` of the next block's own logits. If given, what is
            returned may be pooled for it already.

    Returns:
        tuple[Tensor, Tensor]: ``(B, heads, h, w, d)`` and ``S``, ``(B, heads, h, w, h', w')``, or what
        :func:`pool_logits` makes of it, both in the dtype of ``q``.
    """
    on_triton = backends.choose(backend, q, q.shape[-1], 'pooled attention', example) == 'triton'
    query_grid, key_grid = q.shape[2:4], k.shape[2:4]
    prev_cell, means = 1, None
    if on_triton and not versions.is_compiling():  # a compiler need not ask whether a size is even
        if prev_logits is not None:
            prev_cell = cell_side(key_grid, prev_logits.shape[4:]) or 1
        if next_shape is not None:
            means = coarsest((q.shape[1], *query_grid, *key_grid), next_shape)
            if not (cell_side(query_grid, means[1:3]) and cell_side(key_grid, means[3:])):
                means = None
    if prev_logits is not None:
        if prev_cell == 1:
            prev_logits = upsample_keys(prev_logits, key_grid)
        prev_logits = prev_logits.to(q.dtype).flatten(4).flatten(2, 3)
    q, k, v = (x.flatten(2, 3) for x in (q, k, v))
    if on_triton:
        inputs = [None if x is None else x.unsqueeze(1) for x in (q, k, v, prev_logits, None, None)]
        by_row, by_column = (x.to(q.dtype).unsqueeze(1).contiguous() for x in positions)
        out, logits = (x.squeeze(1) for x in TritonAttention.apply(
            *inputs, alpha.to(q.dtype), 1., scale, True, by_row, by_column, query_grid[1], prev_cell, means))
    else:
        bias = (positions[0].unsqueeze(-1) + positions[1].unsqueeze(-2)).flatten(-2).to(q.dtype)
        overwrite = bias.is_contiguous() and not torch.is_grad_enabled()
        out, logits = plain(q, k, v, prev_logits, alpha, scale, bias, None, True, overwrite)
    out = out.unflatten(2, query_grid)
    if means is not None:
        query_grid, key_grid = means[1:3], means[3:]
    return out, logits.unflatten(3, key_grid).unflatten(2, query_grid)


def pool_logits(logits: Tensor, next_shape: Sequence[int]) -> Tensor:
    """Logits ``(B, heads or 1, h, w, h', w')``, or pooled ones, for a block whose own logits have that shape.

    The mean of the heads, where their number changes; averages of queries, and of keys where they become fewer.
    """
    if not versions.is_compiling():
        shape = coarsest(logits.shape[1:], next_shape)
        if all(given % length == 0 for given, length in zip(logits.shape[1:], shape)):
            return mean_of_cells(logits, shape)
    heads, *lengths = next_shape
    if logits.shape[1] != heads:
        logits = logits.mean(1, keepdim=True)
    for dim, length in enumerate(lengths, start=2):
        if logits.shape[dim] > length:
            logits = average(logits, dim, length)
    return logits


def coarsest(shape: Sequence[int], next_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of logits that are pooled for a block with others."""
    return 1 if shape[0] != next_shape[0] else shape[0], *map(min, shape[1:], next_shape[1:])


def cell_side(grid: Sequence[int], coarser: Sequence[int]) -> int:
    """Side of the cells of a grid, 1 or 2, that make the coarser one, or 0."""
    return next((side for side in (1, 2) if all(n == side * m for n, m in zip(grid, coarser))), 0)


def average(x: Tensor, dim: int, length: int) -> Tensor:
    """Adaptive average pooling along one axis."""
    given = x.shape[dim]
    index, cell = torch.arange(given, device=x.device), torch.arange(length, device=x.device)[:, None]
    weight = ((index >= cell * given // length) & (index < -(-(cell + 1) * given // length))).to(x.dtype)
    return (x.transpose(dim, -1) @ (weight / weight.sum(1, keepdim=True)).T).transpose(dim, -1)


def upsample_keys(logits: Tensor, grid: Sequence[int]) -> Tensor:
    """Along the last two axes, where they are shorter than those of the grid.

    From n to 2 n, each twice; or to 2 n - 1, which adaptive pooling makes of odd maps, the means in between.
    """
    for dim, length in enumerate(grid, start=4):
        if logits.shape[dim] < length:
            index = torch.arange(length, device=logits.device)
            below, odd = logits.index_select(dim, index // 2), length - length // 2 * 2
            if versions.is_compiling() or odd:
                below = (below + logits.index_select(dim, index // 2 + index % 2 * odd)) / 2
            logits = below
    return logits


def example(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Outputs and gradients of small inputs, whose keys are upsampled, and of others, whose logits are averaged."""
    results = []
    for key_grid, prev_grid, next_shape in [((10, 6), (5, 3), None), ((6, 18), (6, 18), (3, 5, 7, 3, 9))]:
        rows, columns = key_grid
        inputs = backends.example_inputs(
            device, dtype, (2, 2, 10, 14, 48), (2, 2, *key_grid, 48), (2, 2, *key_grid, 48),
            (2, 1, 10, 14, *prev_grid), (), (2, 2, 140, rows), (2, 2, 140, columns))
        *tensors, by_row, by_column = inputs
        out, logits = pooled_attention(*tensors, 0.2, (by_row, by_column), next_shape, backend)
        logits = logits if next_shape is None else pool_logits(logits, next_shape)
        results += [out, logits, *torch.autograd.grad(out.square().sum() + logits.sin().sum(), inputs)]
    return results
