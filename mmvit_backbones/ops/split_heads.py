"""Query, key and value of a map, each dense."""
import torch
from torch import Tensor

from ..utils import versions


def split_heads(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Copies a packed projection into a map per head, for convolutions; copies their gradients back.

    From ``(B, H, W, 3 * num_heads * d)``, ordered (query, key, value), head, d, to ``(B, num_heads, H, W, d)`` each.
    """
    return reference(qkv, num_heads) if versions.is_compiling() else _SplitHeads.apply(qkv, num_heads)


def reference(qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same; its gradients are stacked, and the stack copied."""
    return qkv.unflatten(-1, (3, num_heads, -1)).permute(3, 0, 4, 1, 2, 5).contiguous().unbind(0)


class _SplitHeads(torch.autograd.Function):

    @staticmethod
    def forward(ctx, qkv: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
        return reference(qkv, num_heads)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        grad = torch.stack([part.permute(0, 2, 3, 1, 4) for part in grads], dim=3)
        return grad.flatten(3), None
