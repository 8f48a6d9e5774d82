"""Sums where the branches of a network part and meet, each in one pass over memory.

Plain PyTorch adds pair by pair, in the forward pass the outputs of branches, in the backward pass the gradients of
what several branches read: a sum of four maps reads six and writes three, here it reads four and writes one. Compilers
fuse such sums by themselves and get plain ones.
"""
from collections.abc import Sequence

import torch
from torch import Tensor

from . import backends


def fork(x: Tensor, count: int, backend: str | None = None) -> Sequence[Tensor]:
    """A map for each of the branches that read it; the gradients of all are summed at once.

    Args:
        x (Tensor): ``(B, H, W, C)``.
        count (int): Number of branches.
        backend (str | None): As of :func:`.backends.choose`.

    Returns:
        Sequence[Tensor]: ``x``, ``count`` times.
    """
    if torch.is_grad_enabled() and choose(backend, x) == 'triton':
        return _TritonFork.apply(x, count)
    return [x] * count


def join(shortcut: Tensor, branches: Sequence[Tensor], scales: Tensor | None = None,
         backend: str | None = None) -> Tensor:
    """The sum of a shortcut and the branches parallel to it.

    Args:
        shortcut (Tensor): ``(B, H, W, C)``.
        branches (Sequence[Tensor]): One to three, of the same shape.
        scales (Tensor | None): ``(branches, B)``: factors of a branch's images. Defaults to None.
        backend (str | None): As of :func:`.backends.choose`.

    Returns:
        Tensor: ``(B, H, W, C)``.
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
    x = x.requires_grad_()
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
        from .kernels import branches as kernels  # Triton may be missing
        grads = [grad for grad in grads if grad is not None]
        while len(grads) > 1:
            grads = [kernels.sum_maps(grads[:kernels.MAX_MAPS], None), *grads[kernels.MAX_MAPS:]]
        return (grads[0] if grads else None), None


class _TritonJoin(torch.autograd.Function):

    @staticmethod
    def forward(ctx, scales: Tensor | None, *maps: Tensor) -> Tensor:
        from .kernels import branches as kernels
        ctx.save_for_backward(scales)
        ctx.dtypes = [x.dtype for x in maps]
        return kernels.sum_maps(maps, None if scales is None else scales.contiguous())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple:
        scales, = ctx.saved_tensors
        branches = [grad] * (len(ctx.dtypes) - 1) if scales is None else [
            grad * scale for scale in scales[..., None, None, None]]
        return None, *(x.to(dtype) for x, dtype in zip([grad, *branches], ctx.dtypes))
