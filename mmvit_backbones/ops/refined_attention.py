"""Lean parts of the refiner (Refiner, Zhou et al., 2021, arXiv 2106.03714, section 4.2).

``BN(conv3(ReLU6(BN(conv2(ReLU6(BN(conv1(A)))))))) + A`` on maps ``(B, num_heads, N, N)``, with three times the heads
inside.
"""
import torch
import torch.nn.functional as F
from torch import Tensor


def relu6_(x: Tensor) -> Tensor:
    """``ReLU6(x)``, written over ``x``: it saves its result, which the next convolution saves anyway.

    ``F.relu6(x, inplace=True)`` saves a copy of its input: one more wide map per call.
    """
    if torch.compiler.is_compiling():
        return F.relu6(x)
    return _InPlaceReLU6.apply(x) if torch.is_grad_enabled() and x.requires_grad else x.clamp_(0, 6)


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
