"""Triton kernels of :mod:`mmvit_backbones.ops.sigmoid_gate`."""
import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends import kernel_operator, launch

BLOCK = 1024


@triton.jit
def _offsets(index, stride_b, stride_c, stride_h, stride_w, c, h, w):
    """Where elements lie that are counted in channels-last order."""
    return (index // (h * w * c)) * stride_b + (index % c) * stride_c + (index // (w * c) % h) * stride_h + (
        index // c % w) * stride_w


@triton.jit
def _forward_kernel(x, x_b, x_c, x_h, x_w, gate, gate_b, gate_c, gate_h, gate_w, out, c, h, w, elements,
                    BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < elements
    value = tl.load(x + _offsets(index, x_b, x_c, x_h, x_w, c, h, w), mask=inside).to(tl.float32)
    logit = tl.load(gate + _offsets(index, gate_b, gate_c, gate_h, gate_w, c, h, w), mask=inside).to(tl.float32)
    tl.store(out + index, (value * tl.sigmoid(logit)).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(x, x_b, x_c, x_h, x_w, gate, gate_b, gate_c, gate_h, gate_w, grad, grad_b, grad_c, grad_h, grad_w,
                     grad_x, grad_gate, c, h, w, elements, BLOCK: tl.constexpr):
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = index < elements
    value = tl.load(x + _offsets(index, x_b, x_c, x_h, x_w, c, h, w), mask=inside).to(tl.float32)
    logit = tl.load(gate + _offsets(index, gate_b, gate_c, gate_h, gate_w, c, h, w), mask=inside).to(tl.float32)
    g = tl.load(grad + _offsets(index, grad_b, grad_c, grad_h, grad_w, c, h, w), mask=inside).to(tl.float32)
    sigmoid = tl.sigmoid(logit)
    tl.store(grad_x + index, (g * sigmoid).to(grad_x.dtype.element_ty), mask=inside)
    tl.store(grad_gate + index, (g * value * sigmoid * (1 - sigmoid)).to(grad_gate.dtype.element_ty), mask=inside)


@kernel_operator('sigmoid_gate')
def forward(x: Tensor, gate: Tensor) -> Tensor:
    """``x * gate.sigmoid()`` of ``(B, C, H, W)``, any strides; the result is channels-last."""
    out = torch.empty_like(x, memory_format=torch.channels_last)
    launch(_forward_kernel, (triton.cdiv(x.numel(), BLOCK), ), x, *x.stride(), gate, *gate.stride(), out, *x.shape[1:],
           x.numel(), BLOCK=BLOCK)
    return out


@kernel_operator('sigmoid_gate_backward')
def backward(x: Tensor, gate: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of both arguments, channels-last."""
    grads = [torch.empty_like(tensor, memory_format=torch.channels_last) for tensor in (x, gate)]
    launch(_backward_kernel, (triton.cdiv(x.numel(), BLOCK), ), x, *x.stride(), gate, *gate.stride(), grad,
           *grad.stride(), *grads, *x.shape[1:], x.numel(), BLOCK=BLOCK)
    return grads[0], grads[1]
