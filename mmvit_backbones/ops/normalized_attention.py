"""Attention with mixed heads and an instance-normalized softmax map.

ResT (Zhang and Yang, NeurIPS 2021, arXiv 2105.13677), equation 4: ``IN(softmax(conv(q k^T / sqrt(d)))) v``. The
convolution between heads is a module of the network, so there is a function before it and one after it.
"""
import torch
from torch import Tensor

from . import backends
from . import triton as kernels
from .batched import flat, scaled_bmm
from .precision import at_least_float32


def scaled_logits(q: Tensor, k: Tensor, scale: float, backend: str | None = None) -> Tensor:
    """``scale * q k^T``, ``(B, num_heads, N, M)``, whose backward pass scales inside of its matrix products, too.

    ``q`` is ``(B, num_heads, N, d)`` and ``k`` is ``(B, num_heads, M, d)``, of any strides; ``backend`` as for
    :func:`normalized_attention`.
    """
    backend = backends.choose(backend, q, q.shape[-1], 'scaled logits', example_logits)
    if backend == 'torch' and torch.compiler.is_compiling():
        return scale * q @ k.transpose(-2, -1)
    return _ScaledLogits.apply(q, k.to(q.dtype), scale, backend)


def example_logits(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Logits and gradients of a small input, with the strides that networks have."""
    inputs = backends.example_inputs(device, dtype, (2, 70, 3, 48), (2, 37, 3, 48))
    logits = scaled_logits(*(x.transpose(1, 2) for x in inputs), 0.2, backend)
    return [logits, *torch.autograd.grad(logits.square().sum(), inputs)]


def scaled_product(a: Tensor, b: Tensor, scale: float, backend: str, as_map: bool) -> Tensor:
    """``scale * a b``; Triton reads and writes heads where linear layers have them, torch needs copies."""
    if backend == 'triton':
        return kernels.normalized_attention.scaled_product(a, b, scale, as_map)
    return scaled_bmm(flat(a), flat(b), scale).unflatten(0, a.shape[:2])


class _ScaledLogits(torch.autograd.Function):

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, scale: float, backend: str) -> Tensor:
        ctx.save_for_backward(q, k)
        ctx.scale, ctx.backend = scale, backend
        return scaled_product(q, k.transpose(-2, -1), scale, backend, as_map=False)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        q, k = ctx.saved_tensors
        return (scaled_product(grad, k, ctx.scale, ctx.backend, as_map=True),
                scaled_product(grad.transpose(-2, -1), q, ctx.scale, ctx.backend, as_map=True), None, None)


def reference(logits: Tensor, value: Tensor, eps: float = 1e-5) -> Tensor:
    """The published formula: ``IN(softmax(logits)) v``."""
    attn = logits.softmax(-1)
    mean, var = attn.mean((2, 3), keepdim=True), attn.var((2, 3), correction=0, keepdim=True)
    return ((attn - mean) / (var + eps).sqrt()).to(value.dtype) @ value


def normalized_attention(logits: Tensor, value: Tensor, eps: float = 1e-5, backend: str | None = None) -> Tensor:
    """``IN(softmax(logits)) v``, with the values multiplied by the factor of the instance norm instead of the map.

    The rows of a softmax map sum to 1, so its mean is 1 / M. It is subtracted in float32 before the map is rounded to
    the dtype of the logits: where attention is nearly uniform, the norm magnifies what is left up to 316 times.

    Args:
        logits (Tensor): ``(B, num_heads, N, M)``: N queries, M keys.
        value (Tensor): ``(B, num_heads, M, d)``.
        eps (float): Epsilon of the instance norm. Defaults to 1e-5.
        backend (str | None): As of :func:`.backends.choose`.

    Returns:
        Tensor: ``(B, num_heads, N, d)``.
    """
    if backends.choose(backend, logits, value.shape[-1], 'normalized attention', example) == 'triton':
        return _TritonAttention.apply(logits, value.to(logits.dtype), eps)
    attn = centered_softmax(logits) if torch.compiler.is_compiling() else _CenteredSoftmax.apply(logits)
    norm = torch.linalg.vector_norm(attn, dim=(2, 3), keepdim=True, dtype=at_least_float32(attn))
    rstd = (norm.square() / (attn.shape[2] * attn.shape[3]) + eps).rsqrt()
    # Rows of the map sum to 0 but for their rounding, which centered values cancel.
    mean = value.mean(2, keepdim=True, dtype=norm.dtype)
    return attn @ (value * rstd - mean * rstd).to(attn.dtype)  # saves no centered copy of the values


def centered_softmax(logits: Tensor) -> Tensor:
    """``softmax(logits) - 1 / M``."""
    dtype = at_least_float32(logits)
    return (logits.softmax(-1, dtype=dtype) - 1 / logits.shape[-1]).to(logits.dtype)


def example(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients on a small input: partial blocks, sharp and flat rows."""
    logits, value = backends.example_inputs(device, dtype, (2, 3, 70, 37), (2, 3, 37, 48))
    factors = 2.**torch.linspace(-3, 2, 70, device=device).round()[:, None]  # powers of two round nothing
    out = normalized_attention(logits * factors.to(dtype), value, backend=backend)
    return [out, *torch.autograd.grad(out.square().sum(), [logits, value])]


class _TritonAttention(torch.autograd.Function):
    """Four kernels, each of which reads the logits once; the gradient is the only map that they write."""

    @staticmethod
    def forward(ctx, logits: Tensor, value: Tensor, eps: float) -> Tensor:
        lse, squares = kernels.normalized_attention.softmax_statistics(logits)
        out, rstd = kernels.normalized_attention.forward(logits, lse, squares, value, eps)
        ctx.save_for_backward(logits, value, lse, rstd)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        logits, value, lse, rstd = ctx.saved_tensors
        grad_value, products = kernels.normalized_attention.grad_value(logits, lse, rstd, value, grad)
        return kernels.normalized_attention.grad_logits(logits, lse, rstd, products, value, grad), grad_value, None


class _CenteredSoftmax(torch.autograd.Function):
    """``softmax(logits) - 1 / M``."""

    @staticmethod
    def forward(ctx, logits: Tensor) -> Tensor:
        centered = centered_softmax(logits)
        ctx.save_for_backward(centered)
        return centered

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        centered, = ctx.saved_tensors
        attn = centered + 1 / centered.shape[-1]
        return torch._softmax_backward_data(grad, attn, -1, grad.dtype)
