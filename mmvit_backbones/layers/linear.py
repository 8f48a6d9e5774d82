"""Linear layers on channels-last maps and tokens."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .tracing import is_recorded


class Linear(nn.Linear):
    """``nn.Linear`` that runs on CPUs, in float32, as a 1 x 1 convolution: see :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` to ``(..., out_features)``."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, on CPUs by the faster of two libraries.

    torch hands matrix products in float32 to MKL, which on processors of AMD takes twice the time that oneDNN takes.
    oneDNN serves convolutions, and a channels-last map is what a 1 x 1 convolution reads and writes without a copy.

    Args:
        x (Tensor): ``(..., in_features)``.
        weight (Tensor): ``(out_features, in_features)``.
        bias (Tensor | None): ``(out_features)``.
    """
    if x.ndim not in (3, 4) or not is_for_onednn(x):
        return F.linear(x, weight, bias)
    maps = x.contiguous().view(len(x), -1, *x.shape[-2:]).permute(0, 3, 1, 2)
    out = F.conv2d(maps, weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    return out.contiguous().view(*x.shape[:-1], len(weight))


def is_for_onednn(x: Tensor) -> bool:
    """Not while a graph is recorded, which should say what is meant, nor under autocast, where oneDNN serves anyway."""
    return (not is_recorded() and torch.backends.mkldnn.is_available() and x.device.type == 'cpu'
            and x.dtype == torch.float32 and x.numel() > 0 and not torch.is_autocast_enabled('cpu'))
