"""Dispatch of operators that don't go through :mod:`.dispatch` yet."""
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import dispatch
from .dispatch import INTERPRETED, MAX_HEAD_CHANNELS, SELF_CHECK, TOLERANCES, is_exporting, triton

checked: dict[tuple[str, torch.device, torch.dtype], str | None] = {}


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
    if (backend == 'torch' or dispatch.only_formulas or x.device.type == 'cpu' or is_exporting()
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
