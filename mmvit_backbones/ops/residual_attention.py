"""Attention whose logits are blended with those of the block before.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), equation 5: ``S_i = alpha q k^T / sqrt(d) + (1 - alpha) S_{i-1}``.
"""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .dispatch import differentiable, operator, why_too_wide


def residual_attention(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor,
                       bias: Tensor | None = None, mask: Tensor | None = None,
                       backend: str | None = None) -> tuple[Tensor, Tensor]:
    """Returns ``softmax(S + mask) v`` and ``S = alpha * q k^T / sqrt(d) + (1 - alpha) * prev_logits + bias``.

    Without ``prev_logits``, ``S = q k^T / sqrt(d) + bias``.

    Args:
        q (Tensor): ``(B, num_heads, N, d)``, or ``(B, windows, num_heads, N, d)``; ``...`` stands for all but the last
            two dimensions.
        k, v (Tensor): ``(..., M, d)``, in the dtype of ``q``.
        prev_logits (Tensor | None): Broadcast to ``(..., N, M)``.
        alpha (float | Tensor): Weight of the own logits; a tensor has one element, and its dtype decides nothing.
        bias (Tensor | None): Added to the logits and handed on with them; broadcast to ``(..., N, M)``.
        mask (Tensor | None): Added before the softmax alone, without gradient; broadcast to ``(..., N, M)``.
        backend (str | None): ``'reference'`` or ``'triton'``; None takes Triton where it runs. See
            :func:`.dispatch.operator`.

    Returns:
        tuple[Tensor, Tensor]: ``(..., N, d)`` and the logits ``(..., N, M)``, both in the dtype of ``q``.
    """
    prev_logits, bias, mask = (None if x is None else x.to(q.dtype) for x in (prev_logits, bias, mask))
    alpha = alpha.reshape(()) if torch.is_tensor(alpha) else alpha
    return dispatched(q, k, v, prev_logits, alpha, bias, mask, backend=backend)


def formula(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor,
            bias: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Computes the operator in plain PyTorch."""
    logits = (q * q.shape[-1]**-0.5) @ k.transpose(-2, -1)
    if prev_logits is not None:
        logits = alpha * logits + (1 - alpha) * prev_logits
    if bias is not None:
        logits = logits + bias
    attn = (logits if mask is None else logits + mask).softmax(-1)
    return attn @ v, logits


def example(randn: Callable[..., Tensor]) -> list[tuple]:
    """Windows with bias and mask; a learned weight and previous logits that heads share; no previous logits."""
    return [
        (*(randn(2, 3, 2, n, 48) for n in (70, 35, 35)), randn(2, 3, 2, 70, 35), 0.3, randn(2, 70, 35),
         randn(3, 1, 70, 35)),
        (*(randn(2, 3, n, 20) for n in (10, 70, 70)), randn(2, 1, 10, 70), randn(), randn(2, 3, 10, 70)),
        (*(randn(2, 3, 17, 16) for _ in range(3)), None, 0.3),
    ]


def forward(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: Tensor, bias: Tensor | None,
            mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Returns output, logits and the log-sum-exp of their rows, of tensors ``(B, windows, num_heads, ...)``."""
    from .triton import residual_attention as kernels
    return kernels.forward(q, k, v, prev_logits, alpha, bias, mask)


def backward(arguments: Sequence, outputs: Sequence[Tensor], grad: Tensor | None,
             grad_logits: Tensor | None) -> tuple[Tensor | None, ...]:
    from .triton import residual_attention as kernels
    q, k, v, prev_logits, alpha, bias_shape, mask = arguments
    out, logits, lse = outputs
    grad = torch.zeros_like(out) if grad is None else grad
    grad_logits = None if grad_logits is None else grad_logits.contiguous()
    grad_q, grad_logits, grad_alpha = kernels.grad_rows(
        q, k, v, prev_logits, alpha, mask, out, logits, lse, grad, grad_logits)
    grad_k, grad_v = kernels.grad_keys(
        q, k, v, alpha, mask, prev_logits is not None, logits, lse, grad, grad_logits)
    grad_bias = None if bias_shape is None else grad_logits.sum_to_size(bias_shape)
    if prev_logits is None:
        return grad_q, grad_k, grad_v, None, None, grad_bias
    grad_prev = (1 - alpha) * grad_logits.sum_to_size(prev_logits.shape)
    return grad_q, grad_k, grad_v, grad_prev, grad_alpha.sum().to(alpha.dtype), grad_bias


run_kernels = differentiable(forward, backward, num_results=2, shapes_of=[5])  # bias may be a whole map


def on_triton(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor,
              bias: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Runs Triton's kernels, which know windows: where there are none, there is one."""
    alpha = alpha if torch.is_tensor(alpha) else torch.full((), alpha, device=q.device)
    if q.ndim == 5:
        return run_kernels(q, k, v, prev_logits, alpha, bias, mask)
    q, k, v, prev_logits, bias, mask = (
        x if x is None or x.ndim < 4 else x.unsqueeze(1) for x in (q, k, v, prev_logits, bias, mask))
    out, logits = run_kernels(q, k, v, prev_logits, alpha, bias, mask)
    return out.squeeze(1), logits.squeeze(1)


def why_not(backend: str, q: Tensor, k: Tensor, v: Tensor, *arguments) -> str | None:
    if q.ndim not in (4, 5):
        return f'q must have 4 or 5 dimensions, got {q.ndim}'
    if v.shape[-1] != q.shape[-1]:
        return f'values must have as many channels as queries, {q.shape[-1]}, got {v.shape[-1]}'
    return why_too_wide(backend, q.shape[-1])


dispatched = operator('residual attention', formula, example, why_not, triton=on_triton)
