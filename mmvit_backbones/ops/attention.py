"""Scaled dot-product attention that also works under function transforms."""
import torch.nn.functional as F
from torch import Tensor

from .eager import is_transformed


def dot_product_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None,
                          scale: float | None = None) -> Tensor:
    """Returns ``softmax(scale * q k^T + bias) v``.

    Calls ``F.scaled_dot_product_attention``, except under ``torch.func`` transforms and forward-mode autograd, because
    PyTorch's attention kernels do not implement forward-mode derivatives.

    Args:
        q (Tensor): ``(..., N, d)``.
        k, v (Tensor): ``(..., M, d)``.
        bias (Tensor | None): Broadcastable to ``(..., N, M)``, in the dtype of ``q``.
        scale (float | None): Factor of the logits. Defaults to None, which means ``d ** -0.5``.
    """
    if not is_transformed():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    logits = q * (q.shape[-1]**-0.5 if scale is None else scale) @ k.transpose(-2, -1)
    return (logits if bias is None else logits + bias).softmax(-1) @ v
