"""Attention with an instance-normalized softmax map (ResT, Zhang and Yang, NeurIPS 2021, arXiv 2105.13677).

The operator takes logits instead of queries and keys, because the network mixes the logits of the heads beforehand.
"""
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .dispatch import Backend, Operator
from .precision import at_least_float32
from .triton import why_not_channels


def normalized_attention(logits: Tensor, value: Tensor, eps: float = 1e-5, backend: Backend | None = None) -> Tensor:
    """Returns ``IN(softmax(logits)) v``, where IN is the instance norm of each head's map.

    Paper: arXiv 2105.13677, equation 4.

    Args:
        logits (Tensor): ``(B, num_heads, N, M)``: N queries, M keys.
        value (Tensor): ``(B, num_heads, M, d)``.
        eps (float): Epsilon of the instance norm. Defaults to 1e-5.
        backend (str | None): ``'reference'`` or ``'triton'``. Defaults to None: the reference, unless
            :class:`.use_kernels` requests Triton.

    Returns:
        Tensor: ``(B, num_heads, N, d)``.

    Raises:
        ValueError: If ``backend`` is unknown or can't run; the message states the reason.
    """
    return OPERATOR(backend, logits=logits, value=value, eps=eps)


def normalized_attention_reference(logits: Tensor, value: Tensor, eps: float) -> Tensor:
    """Computes :func:`normalized_attention` in plain PyTorch, with softmax and norm in at least float32.

    With the default ``eps``, the norm amplifies the rounding errors of nearly uniform attention up to 316 times. To
    reduce these errors, the mean of the values is subtracted. The exact result is the same, because each row of the
    normalized map sums to 0.
    """
    # Three dimensions, because ExecuTorch's XNNPACK backend normalizes over the heads if a convolution with four
    # dimensions precedes the softmax (docs/export.md).
    attn = logits.flatten(0, 1).softmax(-1, dtype=at_least_float32(logits))
    attn = F.layer_norm(attn, attn.shape[1:], eps=eps)  # per head; F.instance_norm rejects 1 x 1 maps
    return attn.view_as(logits).to(value.dtype) @ (value - value.mean(2, keepdim=True))


def launch_triton(**arguments) -> Tensor:
    from .triton import normalized_attention as kernels  # imported here because Triton may be missing
    return kernels.run(**arguments)


def why_not(backend: Backend, logits: Tensor, value: Tensor, eps: float) -> str | None:
    if logits.dtype != value.dtype:
        return f'logits and value must have the same dtype, got {logits.dtype} and {value.dtype}'
    return why_not_channels(value.shape[-1])


def example(randn: Callable[..., Tensor]) -> list[dict]:
    """Returns a call with sharp and flat rows of attention, and with sizes that are not multiples of the block size."""
    logits = randn(2, 3, 70, 37)
    factors = 2**torch.linspace(-3, 2, 70).round()[:, None]
    return [dict(logits=factors.to(logits) * logits, value=randn(2, 3, 37, 48), eps=1e-5)]


def workload(randn: Callable[..., Tensor], height: int, width: int) -> dict:
    """Returns a call with the sizes of ResTv1's first stage, which reduces keys and values by 8 x 8."""
    keys = -(-height // 8) * -(-width // 8)
    return dict(logits=randn(1, 1, height * width, keys), value=randn(1, 1, keys, 64), eps=1e-5)


OPERATOR = Operator('normalized attention', normalized_attention_reference, example, workload, like='logits',
                    why_not=why_not, triton=launch_triton)
