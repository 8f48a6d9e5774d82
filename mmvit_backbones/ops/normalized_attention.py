"""Attention with an instance-normalized softmax map (ResT, Zhang and Yang, NeurIPS 2021, arXiv 2105.13677).

The logits come from the network, where a convolution mixes those of the heads.
"""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import Backend, Operator
from .precision import at_least_float32
from .triton.availability import why_not_channels


def normalized_attention(logits: Tensor, value: Tensor, eps: float = 1e-5, backend: Backend | None = None) -> Tensor:
    """Returns ``IN(softmax(logits)) v``.

    Paper: arXiv 2105.13677, equation 4.

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
    return OPERATOR(backend, logits=logits, value=value, eps=eps)


def normalized_attention_formula(logits: Tensor, value: Tensor, eps: float) -> Tensor:
    """Computes :func:`normalized_attention` in plain PyTorch, in float32 at least up to the product.

    The norm magnifies nearly uniform attention 316 times, and rounding with it. For the same reason, the mean of the
    values is subtracted: rows of the normalized map sum to 0, so this only removes what rounding leaves of these sums.
    """
    attn = logits.softmax(-1, dtype=at_least_float32(logits))
    attn = F.layer_norm(attn, attn.shape[2:], eps=eps)  # over the map of a head: F.instance_norm refuses 1 x 1
    return attn.to(value.dtype) @ (value - value.mean(2, keepdim=True))


def launch_triton(**arguments) -> Tensor:
    from .triton import normalized_attention as kernels  # here, as Triton may be missing
    return kernels.run(**arguments)


def why_not(backend: Backend, logits: Tensor, value: Tensor, eps: float) -> str | None:
    if logits.dtype != value.dtype:
        return f'logits and value must have one dtype, got {logits.dtype} and {value.dtype}'
    return why_not_channels(value.shape[-1])


def example(randn: Callable[..., Tensor]) -> list[dict]:
    """Returns arguments with partial blocks, sharp and flat rows."""
    logits = randn(2, 3, 70, 37)
    factors = 2**torch.linspace(-3, 2, 70).round()[:, None]
    return [dict(logits=factors.to(logits) * logits, value=randn(2, 3, 37, 48), eps=1e-5)]


OPERATOR = Operator('normalized attention', normalized_attention_formula, example, like='logits', why_not=why_not,
                    triton=launch_triton)
