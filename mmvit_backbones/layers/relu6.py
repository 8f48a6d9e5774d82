"""ReLU6 (Krizhevsky, 2010) in place."""
import torch
import torch.nn.functional as F
from torch import Tensor


class _InPlaceReLU6(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x.clamp_(0, 6)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return torch.ops.aten.hardtanh_backward(grad, ctx.saved_tensors[0], 0., 6.)


def relu6_(x: Tensor) -> Tensor:
    """Overwrites its input and keeps the result for the backward pass, where torch's own keeps a copy of the input."""
    if torch.compiler.is_compiling():
        return F.relu6(x)
    return _InPlaceReLU6.apply(x) if torch.is_grad_enabled() else x.clamp_(0, 6)
