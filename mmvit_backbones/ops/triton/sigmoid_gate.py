"""Triton kernels of :mod:`mmvit_backbones.ops.sigmoid_gate`, on maps that are channels-last."""
import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import kernel_operator, launch

BLOCK = 1024


@triton.jit
def _forward_kernel(x, gate, out, elements, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < elements
    value = tl.load(x + index, mask=inside).to(tl.float32)
    logit = tl.load(gate + index, mask=inside).to(tl.float32)
    tl.store(out + index, (value * tl.sigmoid(logit)).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(x, gate, grad, grad_x, grad_gate, elements, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < elements
    value = tl.load(x + index, mask=inside).to(tl.float32)
    sigmoid = tl.sigmoid(tl.load(gate + index, mask=inside).to(tl.float32))
    g = tl.load(grad + index, mask=inside).to(tl.float32)
    tl.store(grad_x + index, (g * sigmoid).to(grad_x.dtype.element_ty), mask=inside)
    tl.store(grad_gate + index, (g * value * sigmoid * (1 - sigmoid)).to(grad_gate.dtype.element_ty), mask=inside)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


@kernel_operator('sigmoid_gate')
def forward(x: Tensor, gate: Tensor) -> Tensor:
    """``x * gate.sigmoid()`` of ``(B, C, H, W)``."""
    out = torch.empty_like(x)
    launch(_forward_kernel, (triton.cdiv(x.numel(), BLOCK), ), x, gate, out, x.numel(), BLOCK=BLOCK)
    return out


@kernel_operator('sigmoid_gate_backward')
def backward(x: Tensor, gate: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of both arguments."""
    grad_x, grad_gate = torch.empty_like(x), torch.empty_like(x)
    launch(_backward_kernel, (triton.cdiv(x.numel(), BLOCK), ), x, gate, grad, grad_x, grad_gate, x.numel(),
           BLOCK=BLOCK)
    return grad_x, grad_gate


forward.register_autograd(lambda ctx, grad: backward(*ctx.saved_tensors, channels_last(grad)),
                          setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
