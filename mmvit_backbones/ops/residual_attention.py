"""Attention whose logits are blended with those of the block before.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), equation 5: ``S_i = a q k^T / sqrt(d) + (1 - a) S_{i-1}``.
"""
from collections.abc import Sequence

import torch
from torch import Tensor

from ..utils import versions
from . import backends
from . import triton as kernels
from .batched import flat, scaled_bmm, sum_parts
from .precision import without_autocast


def residual_attention(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor,
                       scale: float, bias: Tensor | None = None, mask: Tensor | None = None,
                       query_skip: bool = False, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """``softmax(S + mask) v`` and ``S``, with ``S = alpha * scale * q k^T + (1 - alpha) * prev_logits + bias``.

    Without ``prev_logits``, ``S = scale * q k^T + bias``. In plain PyTorch, the products and sums of ``S`` are written
    into one buffer. For the backward pass, the softmax is saved where ``alpha`` is a number; where it is learned, ``S``
    is, which the next block saves anyway, and the softmax is recomputed. The Triton kernels always save ``S``.

    Args:
        q (Tensor): ``(..., N, d)``.
        k, v (Tensor): ``(..., M, d)``, in the dtype of ``q``.
        prev_logits (Tensor | None): Broadcast to ``(..., N, M)``.
        alpha (float | Tensor): Weight of the own logits; a tensor has no dimensions.
        scale (float): Factor of the products, ``d ** -0.5``.
        bias (Tensor | None): Added to the logits and handed on with them; broadcast to ``(..., N, M)``.
        mask (Tensor | None): Added before the softmax alone; broadcast to ``(..., N, M)``.
        query_skip (bool): Add ``q`` to the result. Defaults to False.
        backend (str | None): As of :func:`.backends.choose`.

    Returns:
        tuple[Tensor, Tensor]: ``(..., N, d)`` and the logits ``(..., N, M)``, both in the dtype of ``q``.
    """
    prev_logits, bias, mask = (None if x is None else x.to(q.dtype) for x in (prev_logits, bias, mask))
    if backends.choose(backend, q, max(q.shape[-1], v.shape[-1]), 'residual attention', example) == 'torch':
        return plain(q, k, v, prev_logits, alpha, scale, bias, mask, query_skip)
    inputs = [q, k, v, prev_logits, bias, mask]
    if q.ndim == 4:  # the kernels know windows: here there is one
        inputs = [x if x is None or x.ndim < 4 else x.unsqueeze(-4) for x in inputs]
    learned = alpha.to(q.dtype) if torch.is_tensor(alpha) else None
    out, logits = TritonAttention.apply(*inputs, learned, alpha if learned is None else 1., scale, query_skip)
    return (out, logits) if q.ndim == 5 else (out.squeeze(1), logits.squeeze(1))


def plain(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor, scale: float,
          bias: Tensor | None, mask: Tensor | None, query_skip: bool, overwrite: bool = False) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch, of tensors of one dtype; ``overwrite`` lets the logits be written into ``bias``."""
    if torch.is_tensor(alpha):
        alpha = alpha.to(q.dtype)
    with without_autocast(q.device.type):  # the kernel of the softmax sums in float32 by itself
        if versions.is_compiling():
            return reference(q, k, v, prev_logits, alpha, scale, bias, mask, query_skip)
        return _ResidualAttention.apply(q, k, v, prev_logits, alpha, scale, bias, mask, query_skip, overwrite)


def reference(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor, scale: float,
              bias: Tensor | None = None, mask: Tensor | None = None,
              query_skip: bool = False) -> tuple[Tensor, Tensor]:
    """The formula of :func:`residual_attention`."""
    logits = scale * q @ k.transpose(-2, -1)
    if prev_logits is not None:
        logits = alpha * logits + (1 - alpha) * prev_logits
    if bias is not None:
        logits = logits + bias
    attn = (logits if mask is None else logits + mask).softmax(-1)
    out = attn @ v
    return (out + q if query_skip else out), logits


def example(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Outputs and gradients of small inputs: windows with bias and mask; a learned weight, as in ReViT."""
    *inputs, bias, mask, gate = backends.example_inputs(
        device, dtype, (2, 3, 2, 70, 48), (2, 3, 2, 35, 48), (2, 3, 2, 35, 48), (2, 3, 2, 70, 35), (2, 70, 35),
        (3, 1, 70, 35), ())
    results = []
    for arguments, learned in ([(0.5, 0.2, bias, mask), bias], [(gate, 0.2), gate]):
        out, logits = residual_attention(*inputs, *arguments, backend=backend)
        results += [out, logits, *torch.autograd.grad(out.square().sum() + logits.sin().sum(), [*inputs, learned])]
    return results


class TritonAttention(torch.autograd.Function):
    """Three kernels: no map is written but the logits and their gradient.

    Tensors are ``(B, windows, heads, ...)``; ``learned`` is ``alpha`` as a tensor, which goes first. The arguments from
    ``by_row`` on are for :mod:`.pooled_attention`: positions, columns of the map of queries, the side of the cells of
    keys that share a previous logit, and the shape ``(heads, h, w, h', w')`` of the means that are returned instead of
    the logits.
    """

    @staticmethod
    def forward(ctx, q, k, v, prev_logits, bias, mask, learned, alpha, scale, query_skip, by_row=None, by_column=None,
                query_width=1, prev_cell=1, next_shape=None):
        out, logits, lse = kernels.residual_attention.forward(
            q, k, v, prev_logits, bias, mask, by_row, by_column, learned, alpha, scale, query_skip, prev_cell)
        height, width = ctx.grid = (0, 0) if by_row is None else (by_row.shape[-1], by_column.shape[-1])
        gated = learned is not None and prev_logits is not None
        ctx.save_for_backward(q, k, v, prev_logits if gated else None, mask, learned, logits, lse)
        ctx.alpha, ctx.scale, ctx.query_skip = alpha, scale, query_skip
        ctx.prev_shape, ctx.bias_shape = (None if x is None else x.shape for x in (prev_logits, bias))
        ctx.prev_cell = prev_cell
        ctx.next = query_width, False, 1, 1, 1
        ctx.set_materialize_grads(False)
        if next_shape is None:
            return out, logits
        heads, _, columns, _, key_columns = next_shape
        ctx.next = query_width, True, query_width // columns, width // key_columns, q.shape[2] // heads
        maps = logits.squeeze(1).unflatten(3, (height, width)).unflatten(2, (-1, query_width))
        return out, mean_of_cells(maps, next_shape).flatten(4).flatten(2, 3).unsqueeze(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad, grad_next):
        q, k, v, prev_logits, mask, learned, logits, lse = ctx.saved_tensors
        grad = torch.zeros_like(v[..., :1, :]).expand(*q.shape[:-1], -1) if grad is None else grad
        grad_next = None if grad_next is None else grad_next.contiguous()
        blended = ctx.prev_shape is not None
        needs_bias = ctx.bias_shape is not None and ctx.needs_input_grad[4]
        # The gradient of a broadcast bias is a sum, which that of the previous logits gives as well.
        keep = 1 - ctx.alpha if blended and learned is None else 0
        write_logits = needs_bias and not keep
        grad_q, grad_prev, grad_logits, delta, grad_alpha, by_row, by_column = kernels.residual_attention.grad_rows(
            q, k, v, prev_logits, blended, mask, learned, logits, lse, grad, grad_next, ctx.alpha, ctx.scale,
            ctx.query_skip, write_logits, *ctx.grid, ctx.prev_cell, *ctx.next)
        grad_k, grad_v = kernels.residual_attention.grad_keys(
            q, k, v, mask, learned, logits, lse, delta, grad, grad_next, ctx.alpha, ctx.scale, blended, ctx.grid[1],
            *ctx.next)
        grad_bias = None
        if needs_bias:
            grad_bias = (grad_logits if write_logits else grad_prev).sum_to_size(ctx.bias_shape)
            grad_bias = grad_bias if write_logits else grad_bias / keep
        if not blended:
            grad_prev = None
        elif ctx.prev_cell > 1:
            cells = [x for side in ctx.grid for x in (side // ctx.prev_cell, ctx.prev_cell)]
            grad_prev = grad_prev.unflatten(-1, cells).sum_to_size(*ctx.prev_shape[:-1], cells[0], 1, cells[2], 1)
            grad_prev = grad_prev.view(ctx.prev_shape)
        else:
            grad_prev = grad_prev.sum_to_size(ctx.prev_shape)
        by_row, by_column = (sum_parts(by_row).to(q.dtype), by_column) if ctx.grid[0] else (None, None)
        return (grad_q, grad_k, grad_v, grad_prev, grad_bias, None,
                grad_alpha.sum().to(learned.dtype) if prev_logits is not None else None, None, None, None, by_row,
                by_column, None, None, None)


def mean_of_cells(maps: Tensor, shape: Sequence[int]) -> Tensor:
    """``(B, *shape)`` in one pass: means along all axes of ``maps`` that are a multiple of what they become."""
    dims = []
    for dim in range(maps.ndim - 1, 0, -1):
        if maps.shape[dim] != shape[dim - 1]:
            maps = maps.unflatten(dim, (shape[dim - 1], -1))
            dims = [dim + 1, *(d + 1 for d in dims)]
    return maps.mean(dims) if dims else maps


class _ResidualAttention(torch.autograd.Function):

    @staticmethod
    def forward(ctx, q, k, v, prev_logits, alpha, scale, bias, mask, query_skip, overwrite):
        shape, learned = (*q.shape[:-1], k.shape[-2]), torch.is_tensor(alpha)
        q, k, v = map(flat, (q, k, v))
        if prev_logits is None:
            base = None if bias is None else flat(bias.expand(shape))
            logits = scaled_bmm(q, k.transpose(1, 2), scale, base).view(shape)
        else:
            keep = q.new_ones(()) - alpha
            logits = prev_logits * keep if bias is None else torch.addcmul(
                bias, prev_logits, keep, out=bias if overwrite else None)
            logits = logits.expand(shape).contiguous()
            weighted, scale = (q * alpha, scale) if learned else (q, alpha * scale)
            flat(logits).baddbmm_(weighted, k.transpose(1, 2), alpha=scale)
        attn = softmax(logits, mask)
        out = torch.baddbmm(q, flat(attn), v) if query_skip else torch.bmm(flat(attn), v)
        ctx.save_for_backward(q, k, v, mask, *((logits, prev_logits, alpha) if learned else (attn, None, None)))
        ctx.alpha, ctx.scale, ctx.query_skip = None if learned else alpha, scale, query_skip
        ctx.prev_shape, ctx.bias_shape = (None if x is None else x.shape for x in (prev_logits, bias))
        ctx.set_materialize_grads(False)
        return out.view(*shape[:-1], v.shape[-1]), logits

    @staticmethod
    def backward(ctx, grad_out, grad_logits):
        q, k, v, mask, attn, prev_logits, alpha = ctx.saved_tensors
        shape = attn.shape
        if alpha is None:
            alpha = ctx.alpha
        else:
            attn = softmax(attn, mask)
        if grad_out is None:
            grad_out = q.new_zeros(*shape[:-1], v.shape[-1])
        attn, grad_out = flat(attn), flat(grad_out)
        grad_v = torch.bmm(attn.transpose(1, 2), grad_out)
        grad = torch.bmm(grad_out, v.transpose(1, 2))
        grad = torch._softmax_backward_data(grad, attn, -1, grad.dtype).view(shape)
        if grad_logits is not None:
            grad.add_(grad_logits)
        gated = prev_logits is not None
        grad_q = scaled_bmm(flat(grad), k, ctx.scale, grad_out if ctx.query_skip and not gated else None)
        grad_k = scaled_bmm(flat(grad).transpose(1, 2), q, ctx.scale)
        grad_prev = None if ctx.prev_shape is None else grad.sum_to_size(ctx.prev_shape)
        grad_bias = grad.sum_to_size(ctx.bias_shape) if ctx.needs_input_grad[6] else None
        grad_alpha = None
        if gated:
            grad_alpha = dot(grad_q, q) - dot(grad_prev, prev_logits)
            grad_q = torch.addcmul(grad_out, grad_q, alpha) if ctx.query_skip else grad_q * alpha
            grad_k = grad_k * alpha
        if grad_prev is not None:
            grad_prev = grad_prev * (1 - alpha)
        grad_q, grad_k, grad_v = (x.view(*shape[:-2], *x.shape[-2:]) for x in (grad_q, grad_k, grad_v))
        return grad_q, grad_k, grad_v, grad_prev, grad_alpha, None, grad_bias, None, None, None


def softmax(logits: Tensor, mask: Tensor | None) -> Tensor:
    return (logits if mask is None else logits + mask).softmax(-1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of the products, without a tensor of products and summed in float32."""
    return torch.bmm(a.flatten(1).unsqueeze(1), b.flatten(1).unsqueeze(2)).sum()
