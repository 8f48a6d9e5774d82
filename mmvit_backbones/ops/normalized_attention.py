"""Attention with an instance-normalized softmax map (ResT, Zhang and Yang, NeurIPS 2021, arXiv 2105.13677)."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .exportable import softmax_of_maps


def normalized_attention(logits: Tensor, value: Tensor, eps: float = 1e-5) -> Tensor:
    """Returns ``IN(softmax(logits)) v``, where IN is the instance norm of each head's map.

    With the default ``eps``, the norm amplifies the rounding errors of nearly uniform attention up to 316 times. To
    reduce these errors, the mean of the values is subtracted. The exact result and gradients are the same, because each
    row of the normalized map sums to 0. For float16, the map is also computed in float32. For bfloat16 it is not, which
    would move more bytes than the authors' code does: the features of tiny networks with random weights, whose
    attention is nearly uniform, deviate by 8 to 24 % from those in float32, instead of 4 to 8 %. PyTorch's autocast
    for GPUs computes softmax and norm in float32 in any case.

    Paper: arXiv 2105.13677, equation 4.

    Args:
        logits (Tensor): ``(B, num_heads, N, M)``: N queries, M keys; the network mixes those of the heads beforehand.
        value (Tensor): ``(B, num_heads, M, d)``.
        eps (float): Epsilon of the instance norm. Defaults to 1e-5.

    Returns:
        Tensor: ``(B, num_heads, N, d)``.
    """
    attn = softmax_of_maps(logits, torch.float32 if logits.dtype == torch.float16 else logits.dtype)
    attn = F.layer_norm(attn, attn.shape[2:], eps=eps)  # per head; F.instance_norm rejects 1 x 1 maps
    return attn.to(value.dtype) @ (value - value.detach().mean(2, keepdim=True))
