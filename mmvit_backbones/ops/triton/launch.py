"""Launching Triton's kernels, so that compilers, counters and the meta device see them."""
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from .availability import INTERPRETED, MAX_HEAD_CHANNELS


def jit(function: Callable) -> Any:
    """Decorates a kernel, or a function of kernels, as ``triton.jit`` does, whose annotation is for launches alone."""
    return triton.jit(function)


def kernel_operator(name: str) -> Callable:
    """Decorates a function as the operator ``mmvit::name``, which launches one Triton kernel.

    The function is its own fake implementation: it makes the results, and :func:`launch` runs nothing on the meta
    device.
    """

    def decorate(function: Callable) -> Callable:
        if not INTERPRETED:
            return torch.library.triton_op(f'mmvit::{name}', function, mutates_args=())
        # The interpreter has no graphs.
        operator = torch.library.custom_op(f'mmvit::{name}', function, mutates_args=())
        operator.register_fake(function)
        return operator

    return decorate


def launch(kernel: triton.JITFunction, grid: Sequence[int], *arguments, **constants) -> None:
    """Runs a kernel, unless there is nothing to run: the first argument is a meta tensor, or the grid is empty."""
    first = arguments[0]
    if first.is_meta or 0 in grid or INTERPRETED and isinstance(first, FakeTensor):
        return
    kernel = kernel if INTERPRETED else torch.library.wrap_triton(kernel)
    num_warps = warps_of(constants, 64 if torch.version.hip else 32)
    kernel[tuple(grid)](*arguments, **constants, num_warps=num_warps)


def with_strides(*tensors: Tensor) -> Iterator[Tensor | int]:
    """Yields tensors, each followed by its strides."""
    for x in tensors:
        yield from (x, *x.stride())


def warps_of(constants: dict, warp_size: int) -> int:
    """Returns the warps of a kernel: 256 threads hold a block of a map and one of a head's channels in registers."""
    return (256 if 'BLOCK_D' in constants else 128) // warp_size


def num_blocks(size: int, block: int) -> int:
    """Returns how many blocks of a kernel cover a dimension."""
    return (size + block - 1) // block


def block_of(size: int, largest: int = MAX_HEAD_CHANNELS) -> int:
    """Returns the block of a kernel for a dimension: a power of two, at least the 16 that ``tl.dot`` asks for."""
    return max(16, triton.next_power_of_2(min(size, largest)))  # pyright: ignore[reportReturnType] - of an int, one


def precision_of(x: Tensor) -> str:
    """Returns the precision of float32 products on matrix units, by torch's own setting."""
    return 'tf32' if torch.backends.cuda.matmul.allow_tf32 else 'ieee'
