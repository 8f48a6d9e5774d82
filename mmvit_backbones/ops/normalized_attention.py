"""Attention with an instance-normalized softmax map (ResT, Zhang and Yang, NeurIPS 2021, arXiv 2105.13677)."""
import torch.nn.functional as F
from torch import Tensor

from .exportable import softmax_of_maps
from .precision import at_least_float32


def normalized_attention(logits: Tensor, value: Tensor, eps: float = 1e-5) -> Tensor:
    """Returns ``IN(softmax(logits)) v``, where IN is the instance norm of each head's map.

    With the default ``eps``, the norm amplifies the rounding errors of nearly uniform attention up to 316 times. To
    reduce these errors, the map is computed in at least float32, and the mean of the values is subtracted. The exact
    result and gradients are the same, because each row of the normalized map sums to 0. The softmax must be given its
    dtype: PyTorch's autocast for GPUs respects one that is given, also half precision.

    Paper: arXiv 2105.13677, equation 4.

    Args:
        logits (Tensor): ``(B, num_heads, N, M)``: N queries, M keys; the network mixes those of the heads beforehand.
        value (Tensor): ``(B, num_heads, M, d)``.
        eps (float): Epsilon of the instance norm. Defaults to 1e-5.

    Returns:
        Tensor: ``(B, num_heads, N, d)``.
    """
    attn = softmax_of_maps(logits, at_least_float32(logits))
    attn = F.layer_norm(attn, attn.shape[2:], eps=eps)  # per head; F.instance_norm rejects 1 x 1 maps
    return attn.to(value.dtype) @ (value - value.detach().mean(2, keepdim=True))
