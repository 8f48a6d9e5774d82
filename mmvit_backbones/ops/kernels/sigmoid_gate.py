"""Triton kernels of :mod:`mmvit_backbones.ops.sigmoid_gate`, on maps that are channels-last."""
import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends import kernel_operator, launch

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


def launch_over(kernel, inputs: tuple[Tensor, ...], num_outputs: int) -> list[Tensor]:
    """Runs a kernel over all elements of maps; gives channels-last maps of the same shape."""
    outputs = [torch.empty_like(inputs[0]) for _ in range(num_outputs)]
    elements = inputs[0].numel()
    launch(kernel, (triton.cdiv(elements, BLOCK), ), *inputs, *outputs, elements, BLOCK=BLOCK)
    return outputs


@kernel_operator('sigmoid_gate')
def forward(x: Tensor, gate: Tensor) -> Tensor:
    """``x * gate.sigmoid()`` of ``(B, C, H, W)``."""
    return launch_over(_forward_kernel, (x, gate), 1)[0]


@kernel_operator('sigmoid_gate_backward')
def backward(x: Tensor, gate: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of both arguments."""
    grad_x, grad_gate = launch_over(_backward_kernel, (x, gate, grad), 2)
    return grad_x, grad_gate


forward.register_autograd(lambda ctx, grad: backward(*ctx.saved_tensors, channels_last(grad)),
                          setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
