"""Registers Triton kernels as operators that work with torch.compile, FLOP counters and meta tensors."""
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import triton
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from ...utils import versions
from . import INTERPRETED, MAX_HEAD_CHANNELS


def jit(function: Callable) -> Any:
    """Applies ``triton.jit``, whose type annotation would be wrong for functions that are called by kernels."""
    return triton.jit(function)


def kernel_operator(name: str) -> Callable:
    """Returns a decorator that registers a function with one kernel launch as the operator ``mmvit::name``.

    The function is also the fake implementation: it allocates the results, and :func:`launch` skips the kernel for
    tensors without data.
    """

    def decorate(function: Callable) -> Callable:
        if not INTERPRETED:
            return torch.library.triton_op(f'mmvit::{name}', function, mutates_args=())
        # Graphs can't contain kernels that run in the interpreter.
        operator = torch.library.custom_op(f'mmvit::{name}', function, mutates_args=())
        operator.register_fake(function)
        return operator

    return decorate


def launch(kernel: triton.JITFunction, grid: Sequence[int], *arguments, **constants) -> None:
    """Launches a kernel, unless the first argument is a tensor without data or the grid is empty."""
    first = arguments[0]
    if first.is_meta or 0 in grid or INTERPRETED and isinstance(first, FakeTensor):
        return
    kernel = kernel if INTERPRETED else torch.library.wrap_triton(kernel)
    num_warps = warps_of(constants, 64 if torch.version.hip else 32)
    # Triton launches on the current GPU, which may not be the GPU of the tensors.
    with torch.cuda.device_of(first) if torch.cuda.is_initialized() else nullcontext():
        kernel[tuple(grid)](*arguments, **constants, num_warps=num_warps)


def with_strides(*tensors: Tensor) -> Iterator[Tensor | int]:
    """Yields each tensor, followed by its strides."""
    for x in tensors:
        yield from (x, *x.stride())


def warps_of(constants: dict, warp_size: int) -> int:
    """Returns the number of warps of a kernel.

    Kernels with a block of channels (``BLOCK_D``) need the registers of 256 threads, and other kernels those of 128. A
    whole window (``TOKENS``) has 16 rows per 32 threads, which then need not exchange sums.
    """
    threads = 2 * constants['BLOCK'] if constants.get('TOKENS') else 256 if 'BLOCK_D' in constants else 128
    return max(threads // warp_size, 1)


def num_blocks(size: int, block: int) -> int:
    """Returns the number of blocks that cover a dimension."""
    return (size + block - 1) // block


def block_of(size: int, largest: int = MAX_HEAD_CHANNELS) -> int:
    """Returns the block size for a dimension: a power of two, and at least 16, which ``tl.dot`` requires."""
    return max(16, triton.next_power_of_2(min(size, largest)))  # pyright: ignore[reportReturnType] - it is an int


def matmul_precision() -> str:
    """Returns the precision of matrix products in float32, according to torch's setting for TF32."""
    return 'tf32' if versions.allows_tf32() else 'ieee'
