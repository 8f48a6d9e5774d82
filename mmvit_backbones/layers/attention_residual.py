"""Attention logits that are handed on from block to block.

ReViT: Enhancing Vision Transformers Feature Diversity with Attention Residual Connections (Diko et al., Pattern
Recognition 2024, arXiv 2402.11301), equation 5: ``S_i = g * q k^T / sqrt(d) + (1 - g) * S_{i-1}``.
"""
import torch
from torch import Tensor, nn

from .precision import without_autocast
from .recompute import recompute


class Gate(nn.Module):
    """The weight ``g`` of a block's own logits: one learned number, shared by all blocks, not bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1, ), 0.5))

    def forward(self) -> Tensor:
        """The number, without dimensions, so that it decides no tensor's dtype."""
        return self.weight.sum()  # no view of the weight: what tracks modules (FLOP counters) stumbles over those


def add_product(base: Tensor, query: Tensor, key: Tensor, beta: float = 1., alpha: float = 1.) -> Tensor:
    """``beta * base + alpha * query key^T``, written into the memory of ``base``, which nobody else may need.

    Args:
        base (Tensor): As many numbers as ``(B, heads, Nq, Nk)``, contiguous, in any shape, in the dtype of ``query``.
        query (Tensor): ``(B, heads, Nq, d)``.
        key (Tensor): ``(B, heads, Nk, d)``.

    Returns:
        Tensor: ``(B, heads, Nq, Nk)``.
    """
    batch_size, heads, num_queries, _ = query.shape
    shape = (batch_size, heads, num_queries, key.shape[2])
    if torch.jit.is_tracing():  # exported graphs have nothing that is written into
        return beta * base.reshape(shape) + alpha * query @ key.transpose(2, 3)
    # Not `view`: for autograd this is no view, whose change in place it would answer with copies of the gradient.
    buffer = torch.ops.aten._unsafe_view(base, (batch_size * heads, *shape[2:]))
    buffer.baddbmm_(query.flatten(0, 1), key.flatten(0, 1).transpose(1, 2), beta=beta, alpha=alpha)
    return buffer.view(shape)


def attend(logits: Tensor, value: Tensor, skip: Tensor | None = None) -> Tensor:
    """``softmax(logits) value``, plus ``skip``; the backward pass computes the softmax anew.

    The logits are kept for what they are handed on to anyway. Under autocast the softmax stays in their dtype, as its
    kernel sums in float32 by itself.

    Args:
        logits (Tensor): ``(B, heads, Nq, Nk)``.
        value (Tensor): ``(B, heads, Nk, d)``, in the dtype of ``logits``.
        skip (Tensor | None): ``(B, heads, Nq, d)``, likewise.

    Returns:
        Tensor: ``(B, heads, Nq, d)``.
    """

    def weigh(logits: Tensor, value: Tensor, skip: Tensor | None = None) -> Tensor:
        weights = logits.flatten(0, 1).softmax(-1)
        if skip is None:
            return torch.bmm(weights, value.flatten(0, 1))
        return torch.baddbmm(skip.flatten(0, 1), weights, value.flatten(0, 1))

    with without_autocast(logits.device.type):
        return recompute(weigh, logits, value, *([] if skip is None else [skip])).unflatten(0, logits.shape[:2])
