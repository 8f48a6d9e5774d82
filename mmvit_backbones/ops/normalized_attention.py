"""Attention with mixed heads and an instance-normalized softmax map.

ResT (Zhang and Yang, NeurIPS 2021, arXiv 2105.13677), equation 4: ``IN(softmax(conv(q k^T / sqrt(d)))) v``. The
convolution between heads is a module of the network, so there is a function before it and one after it.
"""
import torch
from torch import Tensor

from .precision import at_least_float32
from .recompute import recomputable, recompute_input


def scaled_logits(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """``scale * q k^T``, whose backward pass scales inside of its matrix products, too.

    Args:
        q (Tensor): ``(B, num_heads, N, d)``, contiguous.
        k (Tensor): ``(B, num_heads, M, d)``, contiguous.
        scale (float): Factor.

    Returns:
        Tensor: ``(B, num_heads, N, M)``.
    """
    if torch.compiler.is_compiling():
        return scale * q @ k.transpose(-2, -1)
    return _ScaledLogits.apply(q, k, scale)


class _ScaledLogits(torch.autograd.Function):

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(q, k)
        ctx.scale = scale
        return scaled_bmm(q, k.transpose(-2, -1), scale)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        q, k = ctx.saved_tensors
        return scaled_bmm(grad, k, ctx.scale), scaled_bmm(grad.transpose(-2, -1), q, ctx.scale), None


def scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``scale * a b`` of tensors with two batch dimensions, in one kernel."""
    out = torch.baddbmm(a.new_empty(()), a.flatten(0, 1), b.flatten(0, 1), beta=0, alpha=scale)
    return out.unflatten(0, a.shape[:2])


def reference(logits: Tensor, value: Tensor, eps: float = 1e-5) -> Tensor:
    """The published formula: ``IN(softmax(logits)) v``."""
    attn = logits.softmax(-1)
    mean, var = attn.mean((2, 3), keepdim=True), attn.var((2, 3), correction=0, keepdim=True)
    return ((attn - mean) / (var + eps).sqrt()).to(value.dtype) @ value


def normalized_attention(logits: Tensor, value: Tensor, eps: float = 1e-5) -> Tensor:
    """``IN(softmax(logits)) v`` with one saved map; the normalized map is recomputed in the backward pass.

    The rows of a softmax map sum to 1, so its mean is 1 / M. It is subtracted in float32 before the map is rounded to
    the dtype of the logits: where attention is nearly uniform, the norm magnifies what is left up to 316 times.

    Args:
        logits (Tensor): ``(B, num_heads, N, M)``: N queries, M keys.
        value (Tensor): ``(B, num_heads, M, d)``.
        eps (float): Epsilon of the instance norm. Defaults to 1e-5.

    Returns:
        Tensor: ``(B, num_heads, N, d)``.
    """
    if torch.compiler.is_compiling():
        attn = logits.softmax(-1, dtype=at_least_float32(logits)) - 1 / logits.shape[-1]
        attn = attn * (attn.square().mean((2, 3), keepdim=True) + eps).rsqrt()
        return attn.to(value.dtype) @ value

    def instance_norm(attn: Tensor) -> Tensor:
        # Not nn.InstanceNorm2d, which refuses a map of one query and one key.
        return torch.instance_norm(attn, None, None, None, None, True, 0., eps, False)

    attn = recomputable(instance_norm, _CenteredSoftmax.apply(logits))
    return recompute_input(lambda attn: attn @ value, attn)


class _CenteredSoftmax(torch.autograd.Function):
    """``softmax(logits) - 1 / M``."""

    @staticmethod
    def forward(ctx, logits: Tensor) -> Tensor:
        attn = torch.softmax(logits, -1, dtype=at_least_float32(logits))
        centered = torch.sub(attn, 1 / attn.shape[-1], out=torch.empty_like(logits))
        ctx.save_for_backward(centered)
        return centered

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        centered, = ctx.saved_tensors
        attn = centered + 1 / centered.shape[-1]
        return torch._softmax_backward_data(grad, attn, -1, grad.dtype)
