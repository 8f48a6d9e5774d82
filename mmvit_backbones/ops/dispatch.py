"""Operators: a formula in plain PyTorch, and kernels that compute the same faster.

An :class:`Operator` puts them together, for all operators alike: which backend runs, why another can't, and the check
of kernels on the GPU at hand. What Triton's kernels need besides is in ``triton/``.
"""
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor

from ..utils import versions
from . import library
from .eager import is_transformed
from .precision import without_autocast
from .triton.availability import why_not_triton

Backend = Literal['reference', 'cpp', 'cuda', 'triton']
Result = TypeVar('Result')  # of an operator: a tensor, or several

SELF_CHECK = os.environ.get('MMVIT_OPS_SELF_CHECK', '1') != '0'
# The largest deviation of a kernel from its formula in float32, relative to the largest element; float32 itself is
# compared with float64, which is not checked.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}

# Why the kernels of (operator, backend, device, dtype) are not used, or None.
checked: dict[tuple[str, str, torch.device, torch.dtype], str | None] = {}
logged: set[tuple[str, str]] = set()  # operators and backends that log_missing has named
formulas_alone: ContextVar[bool] = ContextVar('formulas_alone', default=False)  # see plain_pytorch


class Operator(Generic[Result]):
    """A function of tensors and numbers that runs a kernel where one can run, else the formula.

    It takes the formula's arguments by keyword. Without a backend, tensors on CPUs take the kernel ``cpp``. On GPUs
    half precision takes ``triton``, else ``cuda``, the other dtypes ``cuda``, else ``triton``, once a kernel has agreed
    with the formula on the example. Tensors on the meta device are dispatched as on a GPU with Triton. Under transforms
    of ``torch.func`` and in forward-mode autograd the formula runs. A backend that is asked for and can't run raises a
    ValueError with the reason.

    Args:
        name (str): As messages call it.
        formula (Callable): The operator in plain PyTorch, backend ``'reference'``.
        example (Callable): ``example(randn)`` returns a list of small calls, each a dict of arguments, whose tensors
            ``randn(*shape)`` draws, on the device and in the dtype that are checked.
        like (str): The argument, a tensor, whose device and dtype decide which backends can run.
        why_not (Callable | None): ``why_not(backend, **arguments)`` returns the operator's own reason why a kernel
            can't run, or None. Defaults to no such reasons.
        kernels (Callable): By backend, functions that take the formula's arguments and return its results.
    """

    def __init__(self, name: str, formula: Callable[..., Result], example: Callable[..., list[dict]], *, like: str,
                 why_not: Callable[..., str | None] | None = None, **kernels: Callable[..., Result]) -> None:
        self.name = name
        self.example = example
        self.like = like
        self.why_not = why_not
        self.functions: dict[str, Callable[..., Result]] = {'reference': formula, **kernels}
        OPERATORS[name] = self

    def __call__(self, backend: Backend | None = None, **arguments) -> Result:
        if backend is None:
            backend = self.choose(arguments)
        elif backend not in self.functions:
            raise ValueError(f'backend must be one of {tuple(self.functions)} or None, got {backend!r}')
        elif backend != 'reference' and (found := self.reason(backend, arguments)) is not None:
            raise ValueError(f'backend {backend!r} cannot run: {found}')
        return self.functions[backend](**arguments)

    def choose(self, arguments: dict) -> Backend:
        """Returns the fastest backend that can run."""
        x = arguments[self.like]
        candidates: list[Backend] = [backend for backend in order(x) if backend in self.functions]
        for backend in candidates:
            if self.reason(backend, arguments) is None and (
                    x.is_meta or backend == 'cpp' or why_not_trusted(self.name, backend, x.device, x.dtype) is None):
                return backend
        if candidates and library.MISSING.get(candidates[0]) is not None:
            log_missing(self.name, candidates[0])
        return 'reference'

    def reason(self, backend: Backend, arguments: dict) -> str | None:
        """Returns the reason why a backend can't run with these arguments, or None if it can."""
        found = why_not_backend(backend, arguments[self.like])
        return self.why_not(backend, **arguments) if found is None and self.why_not is not None else found


OPERATORS: dict[str, Operator] = {}  # by name


# ---- choice


@contextmanager
def plain_pytorch() -> Iterator[None]:
    """Makes operators run their formulas in its scope, unless they are asked for a backend.

    It holds for the thread that enters it. Autograd recomputes blocks on GPUs in a thread of its own.
    """
    token = formulas_alone.set(True)
    try:
        yield
    finally:
        formulas_alone.reset(token)


@torch.compiler.assume_constant_result  # compilers do not read context variables
def is_plain_pytorch() -> bool:
    return formulas_alone.get()


def order(x: Tensor) -> list[Backend]:
    """Returns the backends for a tensor, the best first."""
    if is_plain_pytorch() or is_transformed() or torch.onnx.is_in_onnx_export():
        return []
    if x.device.type == 'cpu':
        return ['cpp']
    is_full_precision = x.dtype.itemsize >= 4 and not x.is_meta
    backends: list[Backend] = ['cuda', 'triton'] if is_full_precision else ['triton', 'cuda']
    # An exported program can hold operators in C++ and CUDA, but no kernels of Triton.
    return [backend for backend in backends if backend != 'triton' or not is_exporting()]


@torch.compiler.assume_constant_result
def is_exporting() -> bool:
    """Returns whether a program is exported: inlined into a graph, ``torch.compiler.is_exporting`` is always true."""
    return versions.is_exporting()


def why_not_backend(backend: Backend, x: Tensor) -> str | None:
    """Returns the reason why no kernel of a backend can run on such a tensor, or None if one can."""
    if backend == 'triton':
        return why_not_triton(x)
    if library.MISSING['cpp' if x.is_meta else backend] is not None:  # the C++ library has the fake implementations
        return library.MISSING[backend]
    device = 'cpu' if backend == 'cpp' else 'cuda'
    return None if x.device.type in (device, 'meta') else f'it needs tensors on {device}, got {x.device}'


@torch.compiler.assume_constant_result  # logs while a graph is recorded, and is no part of it
def log_missing(name: str, backend: Backend) -> None:
    """Logs one line, the first time an operator's formula serves for a compiled backend that is missing."""
    if (name, backend) not in logged:
        logged.add((name, backend))
        logging.getLogger(__name__).warning(
            '%s runs in plain PyTorch; its %s backend is missing: %s; %s', name, backend, library.MISSING[backend],
            library.HOW_TO_BUILD)


# ---- self-check


@torch.compiler.assume_constant_result
def why_not_trusted(name: str, backend: Backend, device: torch.device, dtype: torch.dtype) -> str | None:
    """Returns the reason why an operator's kernels are not used on a device, or None; checked once per dtype."""
    if not SELF_CHECK or dtype not in TOLERANCES:  # float64 has nothing to be compared with
        return None
    key = name, backend, device, dtype
    if key not in checked:
        checked[key] = self_check(name, backend, device, dtype)
        if checked[key] is not None:
            logging.getLogger(__name__).warning(
                '%s does not use %s on %s in %s: %s', name, backend, device, dtype, checked[key])
    return checked[key]


def self_check(name: str, backend: Backend, device: torch.device, dtype: torch.dtype) -> str | None:
    """Returns how the kernels of an operator fail on its example, or None if they agree with the formula."""
    exact = torch.float64 if dtype == torch.float32 else torch.float32
    try:
        actual = run_example(name, backend, device, dtype)
    except Exception as error:  # whatever a compiler or a driver raises
        return f'its kernels raise {type(error).__name__}: {str(error).strip().splitlines()[:1]}'
    for a, b in zip(actual, run_example(name, 'reference', device, exact), strict=True):
        if a is None or b is None:
            continue
        deviation = ((a.to(exact) - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()
        if not deviation <= TOLERANCES[dtype]:
            return f'its kernels deviate by {deviation:.1e} of the largest element, allowed are {TOLERANCES[dtype]}'
    return None


def run_example(name: str, backend: Backend, device: torch.device, dtype: torch.dtype) -> list[Tensor | None]:
    """Returns results of an operator's example, and gradients of their squares; None for what has none, as a mask."""
    operator = OPERATORS[name]
    generator, found = torch.Generator().manual_seed(0), []

    def randn(*shape: int) -> Tensor:
        """Rounded to bfloat16: in other dtypes the computation alone differs."""
        return torch.randn(shape, generator=generator).bfloat16().to(device, dtype)

    with torch.enable_grad(), without_autocast(device.type):
        for arguments in operator.example(randn):
            leaves = [x.requires_grad_() for x in arguments.values() if torch.is_tensor(x)]
            results = operator(backend, **arguments)
            results = results if isinstance(results, tuple) else [results]
            loss = torch.stack([x.square().sum() for x in results]).sum()
            found += [*(x.detach() for x in results), *torch.autograd.grad(loss, leaves, allow_unused=True)]
    return found
