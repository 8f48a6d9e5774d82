"""Operators: a formula in plain PyTorch, and kernels that compute the same faster.

:func:`operator` puts them together, for all operators alike: which backend runs, why another can't, the check of
kernels on the GPU at hand, and through :func:`differentiable` what autograd needs. Launching, and what compilers need
to see a Triton kernel, is in ``triton/launch.py``.
"""
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from ..utils import versions
from . import library
from .eager import is_transformed
from .precision import without_autocast

try:
    import triton
except ImportError:
    triton = None

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'
SELF_CHECK = os.environ.get('MMVIT_OPS_SELF_CHECK', '1') != '0'
MAX_HEAD_CHANNELS = 128  # of Triton's kernels
# Dtypes of Triton's kernels, and the largest deviation from float32, relative to the largest element; float32 itself is
# compared with float64.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}

# By name: the operator and its example.
OPERATORS: dict[str, tuple[Callable, Callable]] = {}
# Why the kernels of (operator, backend, device, dtype) are not used, or None.
checked: dict[tuple[str, str, torch.device, torch.dtype], str | None] = {}
logged: set[tuple[str, str]] = set()  # operators and backends that log_missing has named
only_formulas = False  # see plain_pytorch


def operator(name: str, formula: Callable, example: Callable, why_not: Callable | None = None,
             **kernels: Callable) -> Callable:
    """Returns an operator: a function of tensors and numbers that runs a kernel where one can run, else the formula.

    It takes the formula's arguments by position, the first of which is a tensor, and ``backend``. With None, tensors on
    CPUs take the kernel ``cpp``. On GPUs half precision takes ``triton``, else ``cuda``, the other dtypes ``cuda``,
    else ``triton``, once a kernel has agreed with the formula on the example. Tensors on the meta device are dispatched
    as on a GPU with Triton. Under transforms of ``torch.func`` and in forward-mode autograd the formula runs. A backend
    that is asked for and can't run raises a ValueError with the reason.

    Args:
        name (str): As messages call it.
        formula (Callable): The operator in plain PyTorch, backend ``'reference'``.
        example (Callable): ``example(randn)`` returns a list of small calls, each a tuple of arguments, whose tensors
            ``randn(*shape)`` draws, on the device and in the dtype that are checked.
        why_not (Callable | None): ``why_not(backend, *arguments)`` returns the operator's own reason why a kernel
            can't run, or None. Defaults to no such reasons.
        kernels (Callable): By backend, functions that take the formula's arguments and return its results.
    """
    functions = {'reference': formula, **kernels}

    def reason(backend: str, arguments: tuple) -> str | None:
        found = why_not_backend(backend, arguments[0])
        return why_not(backend, *arguments) if found is None and why_not is not None else found

    def run(*arguments, backend: str | None = None) -> Tensor | tuple[Tensor, ...]:
        if backend is None:
            backend = choose(arguments)
        elif backend not in functions:
            raise ValueError(f'backend must be one of {tuple(functions)} or None, got {backend!r}')
        elif backend != 'reference' and (found := reason(backend, arguments)) is not None:
            raise ValueError(f'backend {backend!r} cannot run: {found}')
        return functions[backend](*arguments)

    def choose(arguments: tuple) -> str:
        x = arguments[0]
        candidates = [backend for backend in order(x) if backend in kernels]
        for backend in candidates:
            if reason(backend, arguments) is None and (
                    x.is_meta or backend == 'cpp' or why_not_trusted(name, backend, x.device, x.dtype) is None):
                return backend
        if candidates and library.MISSING.get(candidates[0]) is not None:
            log_missing(name, candidates[0])
        return 'reference'

    OPERATORS[name] = run, example
    return run


def differentiable(forward: Callable, backward: Callable, num_results: int = 1,
                   shapes_of: Sequence[int] = ()) -> Callable:
    """Returns a function that launches kernels, and that autograd differentiates once.

    Args:
        forward (Callable): ``forward(*arguments)`` returns a tuple of tensors, first the results and then what else
            the backward pass needs. Arguments are tensors, numbers or None.
        backward (Callable): ``backward(arguments, outputs, *grads)`` returns gradients of the leading arguments, None
            for what has none. ``outputs`` are what ``forward`` returned; a result that nobody used has None in
            ``grads``.
        num_results (int): Number of results. Defaults to 1, which is returned without a tuple.
        shapes_of (Sequence[int]): Positions of arguments of which ``backward`` gets the shape alone, so that they are
            not saved. Defaults to none.
    """

    class Kernels(torch.autograd.Function):

        @staticmethod
        def forward(*arguments):
            return forward(*arguments)

        @staticmethod
        def setup_context(ctx, inputs, output):
            inputs = [x.shape if i in shapes_of and x is not None else x for i, x in enumerate(inputs)]
            ctx.numbers = [None if torch.is_tensor(x) else x for x in inputs]
            ctx.save_for_backward(*(x if torch.is_tensor(x) else None for x in inputs), *output)
            ctx.mark_non_differentiable(*output[num_results:])
            ctx.set_materialize_grads(False)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, *grads):
            saved, count = ctx.saved_tensors, len(ctx.numbers)
            arguments = [number if x is None else x for x, number in zip(saved, ctx.numbers)]
            found = backward(arguments, saved[count:], *grads[:num_results])
            return (*found, *[None] * (count - len(found)))

    def run(*arguments) -> Tensor | tuple[Tensor, ...]:
        # torch.compile binds the arguments of a Function that nothing is differentiated by to the wrong parameters.
        is_differentiated = torch.is_grad_enabled() and any(torch.is_tensor(x) and x.requires_grad for x in arguments)
        results = (Kernels.apply if is_differentiated else forward)(*arguments)
        return results[0] if num_results == 1 else results[:num_results]

    return run


# ---- choice


@contextmanager
def plain_pytorch() -> Iterator[None]:
    """Makes operators run their formulas in its scope, unless they are asked for a backend."""
    global only_formulas
    only_formulas = True
    try:
        yield
    finally:
        only_formulas = False


def order(x: Tensor) -> list[str]:
    """Backends for a tensor, the best first."""
    if only_formulas or is_transformed() or torch.onnx.is_in_onnx_export():
        return []
    if x.device.type == 'cpu':
        return ['cpp']
    backends = ['cuda', 'triton'] if x.dtype.itemsize >= 4 and not x.is_meta else ['triton', 'cuda']
    # No exported program can hold Triton's kernels; the C++ and CUDA operators, it can.
    return [backend for backend in backends if backend != 'triton' or not is_exporting()]


@torch.compiler.assume_constant_result
def is_exporting() -> bool:
    """Returns whether a program is exported: inlined into a graph, ``torch.compiler.is_exporting`` is always true."""
    return versions.is_exporting()


def why_not_backend(backend: str, x: Tensor) -> str | None:
    """Returns the reason why no kernel of a backend can run on such a tensor, or None if one can."""
    if backend == 'triton':
        return why_not_triton(x)
    if library.MISSING['cpp' if x.is_meta else backend] is not None:  # the C++ library has the fake implementations
        return library.MISSING[backend]
    device = 'cpu' if backend == 'cpp' else 'cuda'
    return None if x.device.type in (device, 'meta') else f'it needs tensors on {device}, got {x.device}'


def why_not_triton(x: Tensor) -> str | None:
    """Returns the reason why Triton can't run on such a tensor, or None if it can."""
    if triton is None:
        return 'Triton is not installed'
    if reason := versions.why_not("Triton's operators"):
        return reason
    if not (x.is_cuda or x.is_meta or INTERPRETED):
        return f'it needs tensors on a GPU, got {x.device}'
    return None if x.dtype in TOLERANCES else f'it has no kernels for {x.dtype}'


def why_too_wide(backend: str, head_channels: int) -> str | None:
    """Returns the reason why Triton's kernels can't hold a head in registers, or None; for operators' ``why_not``."""
    if backend == 'triton' and head_channels > MAX_HEAD_CHANNELS:
        return f'heads must have at most {MAX_HEAD_CHANNELS} channels, got {head_channels}'
    return None


@torch.compiler.assume_constant_result  # logs while a graph is recorded, and is no part of it
def log_missing(name: str, backend: str) -> None:
    """Logs one line, the first time an operator's formula serves for a compiled backend that is missing."""
    if (name, backend) not in logged:
        logged.add((name, backend))
        logging.getLogger(__name__).warning(
            '%s runs in plain PyTorch; its %s backend is missing: %s; %s', name, backend, library.MISSING[backend],
            library.HOW_TO_BUILD)


# ---- self-check


@torch.compiler.assume_constant_result
def why_not_trusted(name: str, backend: str, device: torch.device, dtype: torch.dtype) -> str | None:
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


def self_check(name: str, backend: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Returns how the kernels of an operator fail on its example, or None if they agree with the formula."""
    exact = torch.float64 if dtype == torch.float32 else torch.float32
    try:
        actual = run_example(name, backend, device, dtype)
    except Exception as error:  # whatever a compiler or a driver raises
        return f'its kernels raise {type(error).__name__}: {str(error).strip().splitlines()[:1]}'
    for a, b in zip(actual, run_example(name, 'reference', device, exact), strict=True):
        if a is None:
            continue
        deviation = ((a.to(exact) - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()
        if not deviation <= TOLERANCES[dtype]:
            return f'its kernels deviate by {deviation:.1e} of the largest element, allowed are {TOLERANCES[dtype]}'
    return None


def run_example(name: str, backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor | None]:
    """Results of an operator's example, and gradients of their squares; None for what has none, such as a mask."""
    run, example = OPERATORS[name]
    generator, found = torch.Generator().manual_seed(0), []

    def randn(*shape: int) -> Tensor:
        """Rounded to bfloat16: in other dtypes the computation alone differs."""
        return torch.randn(shape, generator=generator).bfloat16().to(device, dtype)

    with torch.enable_grad(), without_autocast(device.type):
        for arguments in example(randn):
            arguments = [x.requires_grad_() if torch.is_tensor(x) else x for x in arguments]
            results = run(*arguments, backend=backend)
            results = results if isinstance(results, tuple) else [results]
            leaves = [x for x in arguments if torch.is_tensor(x)]
            loss = sum(x.square().sum() for x in results)
            found += [*(x.detach() for x in results), *torch.autograd.grad(loss, leaves, allow_unused=True)]
    return found
