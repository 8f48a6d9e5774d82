"""Attention whose logits are blended with those of the block before.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), equation 5: ``S_i = alpha q k^T / sqrt(d) + (1 - alpha) S_{i-1}``.
"""
import torch
from torch import Tensor


def residual_attention(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor,
                       bias: Tensor | None = None, mask: Tensor | None = None,
                       backend: str | None = None) -> tuple[Tensor, Tensor]:
    return formula(q, k, v, prev_logits, alpha, bias, mask)


def formula(q: Tensor, k: Tensor, v: Tensor, prev_logits: Tensor | None, alpha: float | Tensor,
            bias: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    logits = (q * q.shape[-1]**-0.5) @ k.transpose(-2, -1)
    if prev_logits is not None:
        logits = alpha * logits + (1 - alpha) * prev_logits
    if bias is not None:
        logits = logits + bias
    attn = (logits if mask is None else logits + mask).softmax(-1)
    return attn @ v, logits
