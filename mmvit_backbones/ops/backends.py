"""Backends of the operators: which can run, and whether their results can be trusted.

Triton compiles a kernel for the GPU at its first call. Before an operator relies on its kernels there, it
compares them with plain PyTorch on a small input. Should they raise or deviate, one warning says so, and plain PyTorch
serves.
"""
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

try:
    import triton
except ImportError:
    triton = None

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
SELF_CHECK = os.environ.get('MMVIT_OPS_SELF_CHECK', '1') != '0'
MAX_HEAD_CHANNELS = 128
# Largest deviation from float32, relative to the largest element; float32 itself is compared with float64.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}

# Why an operator's kernels are not used: (operator, device, dtype) to a reason, or None.
checked: dict[tuple[str, torch.device, torch.dtype], str | None] = {}


is_plain = False  # see plain_pytorch


@contextmanager
def plain_pytorch() -> Iterator[None]:
    """In its scope operators run in plain PyTorch, unless they are asked for a backend."""
    global is_plain
    is_plain = True
    try:
        yield
    finally:
        is_plain = False


def choose(backend: str | None, x: Tensor, head_channels: int, name: str, check: Callable,
           dtype: torch.dtype | None = None) -> str:
    """The backend of an operator that has two, ``'torch'`` and ``'triton'``.

    Args:
        backend (str | None): What the caller asks for; None picks Triton where it can run and be trusted. Tensors on
            the meta device are dispatched as those on a GPU.
        x, head_channels, name: The operator's first argument, the channels of a head, and what it is called.
        check (Callable): ``check(backend, device, dtype)`` gives the results and gradients of a small example.
        dtype (torch.dtype | None): Of what the kernels read, where that is not the dtype of ``x``. Defaults to None.

    Raises:
        ValueError: If the backend is unknown or can't run.
    """
    if backend not in (None, 'torch', 'triton'):
        raise ValueError(f"backend must be 'torch', 'triton' or None, got {backend!r}")
    dtype = dtype or x.dtype
    if backend == 'triton':
        reason = why_not_triton(x, head_channels, dtype)
        if reason is not None:
            raise ValueError(f"backend 'triton' cannot run: {reason}")
        return backend
    if (backend == 'torch' or is_plain or x.device.type == 'cpu' or is_exporting()
            or why_not_triton(x, head_channels, dtype) is not None):
        return 'torch'
    return 'torch' if not x.is_meta and why_not_trusted(name, check, x.device, dtype) else 'triton'


def why_not_triton(x: Tensor, head_channels: int, dtype: torch.dtype | None = None) -> str | None:
    """Why Triton can't run on such a tensor, or None if it can."""
    if triton is None:
        return 'Triton is not installed'
    if not (x.is_cuda or x.is_meta or INTERPRETED):
        return f'it needs tensors on a GPU, got {x.device}'
    if (dtype or x.dtype) not in TOLERANCES:
        return f'it has no kernels for {dtype or x.dtype}'
    if head_channels > MAX_HEAD_CHANNELS:
        return f'heads must have at most {MAX_HEAD_CHANNELS} channels, got {head_channels}'
    return None


@torch.compiler.assume_constant_result
def is_exporting() -> bool:
    """Whether a program is recorded that must run without Triton's kernels.

    Asked while ``torch.compile`` traces, ``torch.compiler.is_exporting`` itself would always agree.
    """
    return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()


@torch.compiler.assume_constant_result
def why_not_trusted(name: str, check: Callable, device: torch.device, dtype: torch.dtype,
                    backend: str = 'triton') -> str | None:
    """Why the kernels of an operator are not used on a device, or None; found out once per process and dtype."""
    if not SELF_CHECK:
        return None
    key = name, device, dtype
    if key not in checked:
        checked[key] = self_check(check, device, dtype, backend)
        if checked[key] is not None:
            logging.getLogger(__name__).warning(
                '%s runs in plain PyTorch on %s in %s: %s', name, device, dtype, checked[key])
    return checked[key]


def self_check(check: Callable, device: torch.device, dtype: torch.dtype, backend: str = 'triton') -> str | None:
    """What is wrong with the kernels of an operator, or None."""
    exact = torch.float64 if dtype == torch.float32 else torch.float32
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        try:
            actual = check(backend, device, dtype)
        except Exception as error:  # whatever a compiler or a driver raises
            return f'its kernels raise {type(error).__name__}: {str(error).strip().splitlines()[:1]}'
        expected = check('torch', device, exact)
    for a, b in zip(actual, expected, strict=True):
        deviation = ((a.to(exact) - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()
        if not deviation <= TOLERANCES[dtype]:
            return f'its kernels deviate by {deviation:.1e} of the largest element, allowed are {TOLERANCES[dtype]}'
    return None


def example_inputs(device: torch.device, dtype: torch.dtype, *shapes: Sequence[int]) -> list[Tensor]:
    """Random leaves for a self-check, such as bfloat16 holds: in other dtypes the computation alone differs."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).bfloat16().to(device, dtype).requires_grad_() for shape in shapes]


def kernel_operator(name: str, mutates_args: Sequence[str] = ()) -> Callable:
    """Decorator: an operator ``mmvit::name`` that launches one Triton kernel, for compilers and counters to see."""

    def decorate(function: Callable) -> Callable:
        if not INTERPRETED:
            return torch.library.triton_op(f'mmvit::{name}', function, mutates_args=mutates_args)
        # The interpreter has no graphs.
        operator = torch.library.custom_op(f'mmvit::{name}', function, mutates_args=mutates_args)
        operator.register_fake(function)  # which launches nothing for meta tensors
        return operator

    return decorate


def launch(kernel: Callable, grid: Sequence[int], first: Tensor, *arguments, **constants) -> None:
    """Runs a kernel, unless there is nothing to run: a meta tensor, or an empty one."""
    if first.is_meta or 0 in grid or INTERPRETED and isinstance(first, FakeTensor):
        return
    kernel = kernel if INTERPRETED else torch.library.wrap_triton(kernel)
    num_warps = warps_of(constants, 64 if torch.version.hip else 32)
    kernel[tuple(grid)](first, *arguments, **constants, num_warps=num_warps)


def with_strides(*tensors: Tensor) -> Iterator[Tensor | int]:
    """Tensors, each followed by its strides."""
    for x in tensors:
        yield from (x, *x.stride())


def warps_of(constants: dict, warp_size: int) -> int:
    """Warps of a kernel: 256 threads hold a block of a map next to one of a head's channels in registers."""
    return (256 if 'BLOCK_D' in constants else 128) // warp_size


def block_of(size: int, largest: int = MAX_HEAD_CHANNELS) -> int:
    """Block of a kernel for a dimension: a power of two, at least the 16 that ``tl.dot`` asks for."""
    return max(16, triton.next_power_of_2(min(size, largest)))


def precision_of(x: Tensor) -> str:
    """How matrix units multiply float32: by torch's own setting."""
    return 'tf32' if torch.backends.cuda.matmul.allow_tf32 else 'ieee'
