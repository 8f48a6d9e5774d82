"""Operators that have a formula in plain PyTorch and faster kernels.

:class:`Operator` selects the backend of a call, reports why a backend can't run, and compares GPU kernels with
the formula before using them.
"""
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import _disable_current_modes

from ..errors import first_line
from ..utils import versions
from . import library
from .precision import without_autocast
from .triton.availability import why_not_triton

Backend = Literal['reference', 'cpp', 'cuda', 'triton']
Result = TypeVar('Result')  # a tensor or a tuple of tensors

SELF_CHECK = os.environ.get('MMVIT_OPS_SELF_CHECK', '1') != '0'
# Maximum deviation of a kernel from its formula, relative to the largest element. The formula runs on the CPU in
# float32, or in float64 if the kernel runs in float32. Kernels in float64 are not checked.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}

# Results of the self-check by (operator, backend, device, dtype): the reason not to use the kernels, or None.
checked: dict[tuple[str, str, torch.device, torch.dtype], str | None] = {}
logged: set[tuple[str, str]] = set()  # (operator, backend) pairs that log_missing has reported
formulas_only: ContextVar[bool] = ContextVar('formulas_only', default=False)  # set by plain_pytorch


class Operator(Generic[Result]):
    """A function of tensors and numbers that runs a kernel where possible, and its formula in plain PyTorch otherwise.

    Calls take the formula's arguments by keyword, and optionally a backend. A requested backend that is unknown or
    can't run raises a ValueError with the reason. If no backend is requested:

    - CPU tensors use ``cpp``.
    - GPU tensors in half precision use ``triton`` or, if it can't run, ``cuda``. In other dtypes, they use ``cuda`` or,
      if it can't run, ``triton``. Kernels are used only if they agree with the formula on the example (not checked in
      float64).
    - Meta tensors use ``triton`` or, if it can't run, ``cuda``.
    - ``torch.export`` skips ``triton``.
    - The formula runs if no kernel can run, inside :func:`plain_pytorch`, and during ONNX export.

    Args:
        name (str): Name of the operator in messages.
        formula (Callable): The operator in plain PyTorch, which is the backend ``'reference'``.
        example (Callable): ``example(randn)`` returns the arguments of small test calls, as a list of dicts.
            ``randn(*shape)`` returns a random tensor on the device and in the dtype of the test.
        like (str): Name of the tensor argument whose device and dtype determine which backends can run.
        why_not (Callable | None): ``why_not(backend, **arguments)`` returns an operator-specific reason why a kernel
            can't run, or None if it can. Defaults to None, which means that there are no such reasons.
        kernels (Callable): Functions by backend, with the arguments and results of the formula.
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
        """Returns the first candidate that can run and is trusted, or the reference."""
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
    """Makes operators run in plain PyTorch inside this context, unless a call requests a backend.

    ``torch.func`` transforms need this context, because kernels have only first derivatives and no batching rules.
    PyTorch's own operators limit what works: ``F.grid_sample`` of varied-size windows has only first derivatives in
    reverse mode, and the fused kernels of ``F.scaled_dot_product_attention`` have no forward mode
    (``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`` has).

    The context affects only the current thread. On GPUs, it does not affect the recomputation of blocks with activation
    checkpointing, because autograd runs it in another thread.
    """
    token = formulas_only.set(True)
    try:
        yield
    finally:
        formulas_only.reset(token)


@torch.compiler.assume_constant_result  # torch.compile can't trace context variables
def is_plain_pytorch() -> bool:
    return formulas_only.get()


def order(x: Tensor) -> list[Backend]:
    """Returns the candidate backends for a tensor, in order of preference."""
    if is_plain_pytorch() or torch.onnx.is_in_onnx_export():
        return []
    if x.device.type == 'cpu':
        return ['cpp']
    is_full_precision = x.dtype.itemsize >= 4 and not x.is_meta
    backends: list[Backend] = ['cuda', 'triton'] if is_full_precision else ['triton', 'cuda']
    # Exported programs can contain C++ and CUDA operators, but no Triton kernels.
    return [backend for backend in backends if backend != 'triton' or not is_exporting()]


@torch.compiler.assume_constant_result
def is_exporting() -> bool:
    """Returns whether ``torch.export`` is tracing.

    torch.compile must not trace this function, because it replaces ``torch.compiler.is_exporting()`` by True.
    """
    return versions.is_exporting()


def why_not_backend(backend: Backend, x: Tensor) -> str | None:
    """Returns the reason why a backend can't run on the tensor, or None if it can."""
    if backend == 'triton':
        return why_not_triton(x)
    if library.MISSING['cpp' if x.is_meta else backend] is not None:  # the C++ library implements the meta device
        return library.MISSING[backend]
    device = 'cpu' if backend == 'cpp' else 'cuda'
    return None if x.device.type in (device, 'meta') else f'tensors must be on {device}, got {x.device}'


@torch.compiler.assume_constant_result  # logs while a graph is traced, without becoming part of it
def log_missing(name: str, backend: Backend) -> None:
    """Logs a warning the first time that an operator runs in plain PyTorch because a backend is missing."""
    if (name, backend) not in logged:
        logged.add((name, backend))
        logging.getLogger(__name__).warning(
            '%s runs in plain PyTorch, because its %s backend is missing: %s', name, backend, library.MISSING[backend])


# ---- self-check


@torch.compiler.assume_constant_result
def why_not_trusted(name: str, backend: Backend, device: torch.device, dtype: torch.dtype) -> str | None:
    """Returns the reason why the self-check rejects an operator's kernels, or None if it accepts them."""
    if not SELF_CHECK or dtype not in TOLERANCES:  # there is no higher precision to compare float64 with
        return None
    key = name, backend, device, dtype
    if key not in checked:
        with undisturbed():
            checked[key] = self_check(name, backend, device, dtype)
        if checked[key] is not None:
            logging.getLogger(__name__).warning(
                '%s does not use its %s kernels on %s in %s: %s', name, backend, device, dtype, checked[key])
    return checked[key]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Separates the self-check from inference mode, dispatch modes and activation checkpointing of the caller."""
    with torch.inference_mode(False), _disable_current_modes(), saved_tensors_hooks(lambda x: x, lambda x: x):
        yield


def self_check(name: str, backend: Backend, device: torch.device, dtype: torch.dtype) -> str | None:
    """Returns how an operator's kernels fail on its example, or None if they agree with the formula."""
    exact = torch.float64 if dtype == torch.float32 else torch.float32
    # TF32 has as many bits of precision as float16.
    limit = TOLERANCES[torch.float16 if dtype == torch.float32 and versions.allows_tf32() else dtype]
    try:
        actual = run_example(name, backend, device, dtype)
    except Exception as error:  # compilers and drivers raise many types of errors
        return f'its kernels raise {first_line(error)}'
    # On GPUs, the formula of sampling raises an error if torch must use deterministic algorithms.
    cpu = torch.device('cpu')
    for a, b in zip(actual, run_example(name, 'reference', cpu, exact), strict=True):
        if a is None or b is None:
            continue
        deviation = ((a.to(cpu, exact) - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()
        if not deviation <= limit:
            return f'its kernels deviate by {deviation:.1e} of the largest element, the limit is {limit}'
    return None


def run_example(name: str, backend: Backend, device: torch.device, dtype: torch.dtype) -> list[Tensor | None]:
    """Returns the results of each example call, followed by the gradients of their sum of squares.

    The gradient of an unused argument is None.
    """
    operator = OPERATORS[name]
    generator, found = torch.Generator().manual_seed(0), []

    def randn(*shape: int) -> Tensor:
        """Returns values that bfloat16 can represent, so that inputs are the same in all dtypes."""
        return torch.randn(shape, generator=generator, device='cpu').bfloat16().to(device, dtype)

    with torch.enable_grad(), without_autocast(device.type):
        for arguments in operator.example(randn):
            leaves = [x.requires_grad_() for x in arguments.values() if torch.is_tensor(x)]
            results = operator(backend, **arguments)
            results = results if isinstance(results, tuple) else [results]
            loss = torch.stack([x.square().sum() for x in results]).sum()
            found += [*(x.detach() for x in results), *torch.autograd.grad(loss, leaves, allow_unused=True)]
    return found
