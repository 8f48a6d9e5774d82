"""Attention with an instance-normalized softmax map (ResT, Zhang and Yang, NeurIPS 2021, arXiv 2105.13677, equation 4).

The logits come from the network, where a convolution mixes those of the heads.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import differentiable, operator, why_too_wide
from .precision import at_least_float32


def normalized_attention(logits: Tensor, value: Tensor, eps: float = 1e-5, backend: str | None = None) -> Tensor:
    """Returns ``IN(softmax(logits)) v``.

    Args:
        logits (Tensor): ``(B, num_heads, N, M)``: N queries, M keys.
        value (Tensor): ``(B, num_heads, M, d)``.
        eps (float): Epsilon of the instance norm. Defaults to 1e-5.
        backend (str | None): ``'reference'``, ``'triton'``; None: the fastest that can run.

    Returns:
        Tensor: ``(B, num_heads, N, d)``.

    Raises:
        ValueError: If the backend can't run; the message says why.
    """
    return attend(logits, value, eps, backend=backend)


def formula(logits: Tensor, value: Tensor, eps: float) -> Tensor:
    """Computes in float32 at least up to the product, as the norm magnifies nearly uniform attention 316 times.

    This is also why the mean of the values is subtracted. Rows of the normalized map sum to 0, so it changes nothing
    but what rounding leaves of these sums.
    """
    attn = logits.softmax(-1, dtype=at_least_float32(logits))
    attn = F.layer_norm(attn, attn.shape[2:], eps=eps)  # over the map of a head: F.instance_norm refuses 1 x 1
    return attn.to(value.dtype) @ (value - value.mean(2, keepdim=True))


def triton_forward(logits: Tensor, value: Tensor, eps: float) -> tuple[Tensor, ...]:
    """Returns the output, and for the backward pass the log-sum-exp of rows and the factors of the norm."""
    from .triton import normalized_attention as kernels
    lse, squares = kernels.softmax_statistics(logits)
    out, rstd = kernels.forward(logits, lse, squares, value, eps)
    return out, lse, rstd


def triton_backward(arguments: list, outputs: tuple[Tensor, ...], grad: Tensor) -> tuple[Tensor, Tensor]:
    from .triton import normalized_attention as kernels
    (logits, value, _), (_, lse, rstd) = arguments, outputs
    grad_value, products = kernels.grad_value(logits, lse, rstd, value, grad)
    return kernels.grad_logits(logits, lse, rstd, products, value, grad), grad_value


def why_not(backend: str, logits: Tensor, value: Tensor, eps: float) -> str | None:
    if logits.dtype != value.dtype:
        return f'logits and value must have one dtype, got {logits.dtype} and {value.dtype}'
    return why_too_wide(backend, value.shape[-1])


def example(randn) -> list[tuple]:
    """Returns arguments with partial blocks, sharp and flat rows."""
    logits = randn(2, 3, 70, 37)
    factors = 2**torch.linspace(-3, 2, 70).round()[:, None]
    return [(factors.to(logits) * logits, randn(2, 3, 37, 48), 1e-5)]


attend = operator('normalized attention', formula, example, why_not,
                  triton=differentiable(triton_forward, triton_backward))
