"""A map weighted by a sigmoid: the position encoding of ResT (Zhang and Yang, arXiv 2105.13677, section 3.3)."""
import torch
from torch import Tensor

from . import backends
from . import triton as kernels


def sigmoid_gate(x: Tensor, gate: Tensor, backend: str | None = None) -> Tensor:
    """``x * gate.sigmoid()`` of ``(B, C, H, W)``; ``backend`` is as of :func:`.backends.choose`.

    A training step in plain PyTorch passes over 14 maps, with the two Triton kernels over 8.
    """
    if backends.choose(backend, x, 0, 'sigmoid gate', example) == 'triton':
        channels_last = kernels.sigmoid_gate.channels_last
        return kernels.sigmoid_gate.forward(channels_last(x), channels_last(gate.to(x.dtype)))
    return x * gate.sigmoid()


def example(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients on a small input, one argument channels-last."""
    x, gate = backends.example_inputs(device, dtype, (2, 5, 7, 9), (2, 5, 7, 9))
    out = sigmoid_gate(x.to(memory_format=torch.channels_last), gate, backend)
    return [out, *torch.autograd.grad(out.square().sum(), [x, gate])]
