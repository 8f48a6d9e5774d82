"""A map weighted by a sigmoid: the position encoding of ResT (Zhang and Yang, arXiv 2105.13677, section 3.3)."""
import torch
from torch import Tensor

from . import backends


def sigmoid_gate(x: Tensor, gate: Tensor, backend: str | None = None) -> Tensor:
    """``x * gate.sigmoid()``.

    A training step in plain PyTorch passes over 14 maps, with the two Triton kernels over 8.

    Args:
        x (Tensor): ``(B, C, H, W)``.
        gate (Tensor): The same shape.
        backend (str | None): As of :func:`.backends.choose`.

    Returns:
        Tensor: ``(B, C, H, W)``.
    """
    if backends.choose(backend, x, 0, 'sigmoid gate', example) == 'triton':
        from .kernels.sigmoid_gate import channels_last, forward  # Triton may be missing
        return forward(channels_last(x), channels_last(gate.to(x.dtype)))
    return x * gate.sigmoid()


def example(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients on a small input, one argument channels-last."""
    x, gate = backends.example_inputs(device, dtype, (2, 5, 7, 9), (2, 5, 7, 9))
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    out = sigmoid_gate(x, gate.requires_grad_(), backend)
    return [out, *torch.autograd.grad(out.square().sum(), [x, gate])]
