"""Attention whose logits are blended with the logits of the previous block.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301).
"""
import torch
from torch import Tensor

from .dispatch import BackendName, Kernel, Operator
from .triton import MAX_HEAD_CHANNELS, WINDOWS

MIN_LOGITS = 2**22  # that Triton processes without a request; smaller ones wait for launches


def residual_attention(q: Tensor, k: Tensor, v: Tensor, *, prev_logits: Tensor | None, alpha: float | Tensor,
                       own_bias: Tensor | None = None, bias: Tensor | None = None, mask: Tensor | None = None,
                       backend: BackendName | None = None) -> tuple[Tensor, Tensor]:
    """Returns ``softmax(S + mask) v`` and the logits S.

    With ``prev_logits``, ``S = alpha * (q k^T / sqrt(d) + own_bias) + (1 - alpha) * prev_logits + bias``. Without
    ``prev_logits``, ``S = q k^T / sqrt(d) + own_bias + bias``.

    Paper: arXiv 2402.11301, equation 5.

    Args:
        q (Tensor): ``(B, num_heads, N, d)``, or ``(B, windows, num_heads, N, d)``; ``...`` stands for all
            dimensions except the last two.
        k, v (Tensor): ``(..., M, d)``, in the dtype of ``q``.
        prev_logits (Tensor | None): Logits of the previous block, broadcastable to ``(..., N, M)``.
        alpha (float | Tensor): Weight of this block's logits. A tensor must have one element; its dtype does not affect
            the dtype of the results.
        own_bias, bias (Tensor | None): Added to the logits, ``own_bias`` before and ``bias`` after they are blended.
            The returned logits include them. Broadcastable to ``(..., N, M)``; at most one of the two can be given.
        mask (Tensor | None): Added to the logits only for the softmax. Broadcastable to ``(..., N, M)``. If it requires
            a gradient, plain PyTorch runs, because kernels don't compute it.
        backend (str | None): ``'reference'`` or ``'triton'``. Defaults to None: the reference, unless
            :class:`.use_kernels` requests Triton or it is measured to be faster.

    Returns:
        tuple[Tensor, Tensor]: ``(..., N, d)`` and the logits ``(..., N, M)``, both in the dtype of ``q``, unless
            autocast changes it.

    Raises:
        ValueError: If both biases are given, or if ``backend`` is unknown or can't run; the message states the reason.
    """
    if own_bias is not None and bias is not None:
        raise ValueError('only one of own_bias and bias can be given, got both')
    if own_bias is not None:
        bias = own_bias if prev_logits is None else alpha * own_bias
    prev_logits, bias, mask = (None if x is None else x.to(q.dtype) for x in (prev_logits, bias, mask))
    alpha = alpha.reshape(()) if torch.is_tensor(alpha) else alpha
    return OPERATOR(backend, q=q, k=k, v=v, prev_logits=prev_logits, alpha=alpha, bias=bias, mask=mask)


def residual_attention_reference(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor,
                                 bias: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Computes :func:`residual_attention` in plain PyTorch."""
    logits = (q * q.shape[-1]**-0.5) @ k.transpose(-2, -1)
    if prev_logits is not None:
        logits = alpha * logits + (1 - alpha) * prev_logits
    if bias is not None:
        logits = logits + bias
    attn = (logits if mask is None else logits + mask).softmax(-1)
    return attn @ v, logits


def launch_triton(**arguments) -> tuple[Tensor, Tensor]:
    from .triton import residual_attention as kernels  # imported here because Triton may be missing
    return kernels.run(**arguments)


def why_not(q: Tensor, v: Tensor, mask: Tensor | None, **others) -> str | None:
    if q.ndim not in (4, 5):
        return f'q must have 4 or 5 dimensions, got {q.ndim}'
    if v.shape[-1] != q.shape[-1]:
        return f'v must have as many channels as q, {q.shape[-1]}, got {v.shape[-1]}'
    if q.shape[-1] > MAX_HEAD_CHANNELS:
        return f'heads must have at most {MAX_HEAD_CHANNELS} channels, got {q.shape[-1]}'
    if mask is not None and mask.requires_grad and torch.is_grad_enabled():
        return 'mask must not require a gradient'
    return None


def is_faster_in_triton(q: Tensor, k: Tensor, bias: Tensor | None, **others) -> bool:
    """Returns whether attention of such shapes makes a network's step at least 1.1 times as fast in Triton.

    In CUDA graphs on an H100, this is so for ReViT, whose attention has no bias (1.26), and for ReSwin's windows
    (1.11), but not for ReMViTv2 (1.06).
    """
    is_like_measured = q.shape[3] in WINDOWS if q.ndim == 5 else bias is None
    return is_like_measured and q.shape[:-1].numel() * k.shape[-2] >= MIN_LOGITS


OPERATOR = Operator('residual attention', residual_attention_reference, like='q',
                    triton=Kernel(launch_triton, why_not, is_faster_in_triton))
