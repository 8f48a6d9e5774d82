"""Sums where the branches of a network part and meet, each in one pass over memory.

Plain PyTorch adds pair by pair, in the forward pass the outputs of branches, in the backward pass the gradients of
what several branches read: a sum of four maps reads six and writes three, here it reads four and writes one. Compilers
fuse such sums by themselves and get plain ones.
"""
from collections.abc import Sequence

import torch
from torch import Tensor

from . import backends
from . import triton as kernels


def fork(x: Tensor, count: int, backend: str | None = None) -> Sequence[Tensor]:
    """``x``, ``(B, H, W, C)``, for each of ``count`` branches that read it; their gradients are summed at once.

    ``backend`` is as of :func:`.backends.choose`.
    """
    if torch.is_grad_enabled() and choose(backend, x) == 'triton':
        return _TritonFork.apply(x, count)
    return [x] * count


def join(shortcut: Tensor, branches: Sequence[Tensor], scales: Tensor | None = None,
         backend: str | None = None) -> Tensor:
    """The sum of a shortcut ``(B, H, W, C)`` and of one to three branches parallel to it, of the same shape.

    ``scales``, ``(branches, B)``, are factors of a branch's images; ``backend`` is as of :func:`.backends.choose`.
    """
    if shortcut.ndim == 4 and len(branches) > 1 and choose(backend, shortcut) == 'triton':
        return _TritonJoin.apply(scales, shortcut, *branches)
    for i, branch in enumerate(branches):
        shortcut = shortcut + branch if scales is None else torch.addcmul(
            shortcut, branch, scales[i].view(-1, *(1, ) * (branch.ndim - 1)))
    return shortcut


def choose(backend: str | None, x: Tensor) -> str:
    if backend is None and torch.compiler.is_compiling():
        return 'torch'
    return backends.choose(backend, x, 0, 'branches', example)


def example(backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients on small inputs, with and without factors; some maps are channels-first."""
    x, scales, weight = backends.example_inputs(device, dtype, (2, 5, 7, 9), (2, 2), (2, 7, 9, 5))
    a, b, c, d = fork(x.permute(0, 2, 3, 1), 4, backend)
    out = join(a, [2 * b, c * weight], scales, backend)
    out = join(out, [d.square(), weight, 0.5 * weight], None, backend)
    return [out, *torch.autograd.grad(out.square().sum(), [x])]


class _TritonFork(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x: Tensor, count: int) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(x.view_as(x) for _ in range(count))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        grads, most = [grad for grad in grads if grad is not None], kernels.branches.MAX_MAPS
        while len(grads) > 1:
            grads = [kernels.branches.sum_maps(grads[:most], None), *grads[most:]]
        return (grads[0] if grads else None), None


class _TritonJoin(torch.autograd.Function):

    @staticmethod
    def forward(ctx, scales: Tensor | None, *maps: Tensor) -> Tensor:
        ctx.save_for_backward(scales)
        ctx.dtypes = [x.dtype for x in maps]
        return kernels.branches.sum_maps(maps, None if scales is None else scales.contiguous())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        scales, = ctx.saved_tensors
        branches = [grad] * (len(ctx.dtypes) - 1) if scales is None else [
            grad * scale for scale in scales[..., None, None, None]]
        return None, *(x.to(dtype) for x, dtype in zip([grad, *branches], ctx.dtypes))
