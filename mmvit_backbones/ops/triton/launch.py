"""Registers Triton kernels as operators that work with torch.compile, FLOP counters and meta tensors."""
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any

import torch
import triton
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from ...utils import versions
from ..graphs import is_traced
from . import INTERPRETED


def jit(function: Callable) -> Any:
    """Applies ``triton.jit``, whose type annotation would be wrong for functions that are called by kernels."""
    return triton.jit(function)


def kernel_operator(name: str) -> Callable:
    """Returns a decorator that registers a function with one kernel launch as the operator ``mmvit::name``.

    The function is also the fake implementation: it allocates the results, and :func:`launch` skips the kernel for
    tensors without data. Calls with ordinary tensors run the function itself, because an operator of
    ``torch.library`` takes as long as several operators of PyTorch. The first argument must be a tensor.
    """

    def decorate(function: Callable) -> Callable:
        if INTERPRETED:  # graphs can't contain kernels that run in the interpreter
            operator = torch.library.custom_op(f'mmvit::{name}', function, mutates_args=())
            operator.register_fake(function)
            return operator
        operator = torch.library.triton_op(f'mmvit::{name}', function, mutates_args=())

        @wraps(function)
        def call(first: Tensor, *others):
            is_recorded = is_traced(first) or first.is_meta
            return (operator if is_recorded else function)(first, *others)

        return call

    return decorate


def launch(kernel: triton.JITFunction, grid: Sequence[int], *arguments, **constants) -> None:
    """Launches a kernel, unless the first argument is a tensor without data or the grid is empty."""
    first = arguments[0]
    if first.is_meta or 0 in grid or INTERPRETED and isinstance(first, FakeTensor):
        return
    # The wrapper lets graphs record the kernel, but outside of graphs it takes longer than the launch.
    is_recorded = not INTERPRETED and is_traced(first)
    kernel = torch.library.wrap_triton(kernel) if is_recorded else kernel
    num_warps = warps_of(constants, first.dtype, 64 if torch.version.hip else 32)
    # Triton launches on the current GPU, which may not be the GPU of the tensors.
    with torch.cuda.device_of(first) if torch.cuda.is_initialized() else nullcontext():
        kernel[tuple(grid)](*arguments, **constants, num_warps=num_warps)


def with_strides(*tensors: Tensor) -> Iterator[Tensor | int]:
    """Yields each tensor, followed by its strides."""
    for x in tensors:
        yield from (x, *x.stride())


def warps_of(constants: dict, dtype: torch.dtype, warp_size: int) -> int:
    """Returns the number of warps of a kernel. Fewer warps let more programs run at once, as long as registers suffice.

    A whole window (``TOKENS``) has 16 rows per 32 threads, which then need not exchange sums. Other matrix products
    need the registers of 128 threads, or of 256 for wide heads and without tensor cores.
    """
    if constants.get('TOKENS'):
        threads = 2 * constants['BLOCK']
    else:
        threads = 256 if constants['BLOCK_D'] > 32 or dtype == torch.float32 else 128
    return max(threads // warp_size, 1)


def block_of(size: int) -> int:
    """Returns the block size for a dimension: a power of two, and at least 16, which ``tl.dot`` requires."""
    # Not triton.next_power_of_2, which takes as long as operators of PyTorch.
    return max(16, 1 << (size - 1).bit_length())


def matmul_precision(dtype: torch.dtype) -> str:
    """Returns the precision of matrix products, which matters in float32: that of torch's setting for TF32."""
    return 'tf32' if dtype == torch.float32 and versions.allows_tf32() else 'ieee'
