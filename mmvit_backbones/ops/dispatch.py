"""Operators that have a reference in plain PyTorch and faster kernels.

:class:`Operator` selects the backend of a call, and reports why a backend can't run.
"""
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, Literal, TypeVar, cast

import torch
from torch import Tensor

from ..utils import versions
from . import library
from .self_check import TOLERANCES, Row, check, fastest_first, undisturbed
from .triton.availability import why_not_triton

Backend = Literal['reference', 'cpp', 'cuda', 'triton']
Result = TypeVar('Result')  # a tensor or a tuple of tensors

# Whether kernels are compared with references on a GPU before they are used.
SELF_CHECK = os.environ.get('MMVIT_OPS_SELF_CHECK', '1') != '0'
logged: set[tuple[str, str]] = set()  # (operator, backend) pairs that log_missing has reported
references_only: ContextVar[bool] = ContextVar('references_only', default=False)  # set by plain_pytorch


class Operator(Generic[Result]):
    """A function of tensors and numbers that runs a kernel where possible, and its reference otherwise.

    Calls take the reference's arguments by keyword, and optionally a backend. A requested backend that is unknown or
    can't run raises a ValueError with the reason. If no backend is requested:

    - CPU tensors use ``cpp``.
    - GPU tensors use the fastest of ``triton``, ``cuda`` and the reference. :mod:`.self_check` measures their time and
      compares their results, at the first call for each device and dtype. Unchecked kernels (float64, or if
      ``MMVIT_OPS_SELF_CHECK`` is 0) are used in the order of :func:`order`.
    - Meta tensors use ``triton`` or, if it can't run, ``cuda``.
    - ``torch.export`` skips ``triton``.
    - The reference runs if no kernel can run, inside :func:`plain_pytorch`, and during ONNX export.

    Args:
        name (str): Name of the operator in messages.
        reference (Callable): The operator in plain PyTorch, which is the backend ``'reference'``.
        example (Callable): ``example(randn)`` returns the arguments of small test calls, as a list of dicts.
            ``randn(*shape)`` returns a random tensor on the device and in the dtype of the test.
        workload (Callable): ``workload(randn, height, width)`` returns the arguments of a call whose time is measured,
            for a map of this many tokens.
        like (str): Name of the tensor argument whose device and dtype determine which backends can run.
        why_not (Callable | None): ``why_not(backend, **arguments)`` returns an operator-specific reason why a kernel
            can't run, or None if it can. Defaults to None, which means that there are no such reasons.
        kernels (Callable): Functions by backend, with the arguments and results of the reference.
    """

    def __init__(self, name: str, reference: Callable[..., Result], example: Callable[..., list[dict]],
                 workload: Callable[..., dict], *, like: str,
                 why_not: Callable[..., str | None] | None = None, **kernels: Callable[..., Result]) -> None:
        self.name = name
        self.example = example
        self.workload = workload
        self.like = like
        self.why_not = why_not
        self.functions: dict[str, Callable[..., Result]] = {'reference': reference, **kernels}
        self.rows: dict[tuple[torch.device, torch.dtype], list[Row]] = {}  # results of the self-check
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
        """Returns the first candidate that can run and is used, or the reference."""
        x = arguments[self.like]
        candidates: list[Backend] = [backend for backend in order(x) if backend in self.functions]
        usable: list[Backend] = [backend for backend in candidates if self.reason(backend, arguments) is None]
        if usable and x.is_cuda and SELF_CHECK and x.dtype in TOLERANCES:
            usable = [backend for backend in checked_order(self.name, x.device, x.dtype) if backend in usable]
        if usable:
            return usable[0]
        if candidates and library.MISSING.get(candidates[0]) is not None:
            log_missing(self.name, candidates[0])
        return 'reference'

    def reason(self, backend: Backend, arguments: dict) -> str | None:
        """Returns the reason why a backend can't run with these arguments, or None if it can."""
        found = why_not_backend(backend, arguments[self.like])
        return self.why_not(backend, **arguments) if found is None and self.why_not is not None else found

    def checked(self, device: torch.device, dtype: torch.dtype) -> list[Row]:
        """Returns the results of the self-check, which runs once per device and dtype."""
        key = device, dtype
        if key not in self.rows:
            with undisturbed():
                x = torch.empty(0, device=device, dtype=dtype)
                backends = [backend for backend in self.functions
                            if backend != 'reference' and why_not_backend(backend, x) is None]
            self.rows[key] = check(self, backends, device, dtype)
            for row in self.rows[key]:
                if row.reason is not None:
                    logging.getLogger(__name__).log(
                        logging.INFO if row.seconds else logging.WARNING,
                        '%s does not use its %s backend on %s in %s: %s', self.name, row.backend, device, dtype,
                        row.reason)
        return self.rows[key]


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
    token = references_only.set(True)
    try:
        yield
    finally:
        references_only.reset(token)


@torch.compiler.assume_constant_result  # torch.compile can't trace context variables
def is_plain_pytorch() -> bool:
    return references_only.get()


def order(x: Tensor) -> list[Backend]:
    """Returns the candidate backends for a tensor, in the order of preference of kernels that were not timed."""
    if is_plain_pytorch() or torch.onnx.is_in_onnx_export():
        return []
    if x.device.type == 'cpu':
        return ['cpp']
    is_full_precision = x.dtype.itemsize >= 4 and not x.is_meta
    backends: list[Backend] = ['cuda', 'triton'] if is_full_precision else ['triton', 'cuda']
    # Exported programs can contain C++ and CUDA operators, but no Triton kernels.
    return [backend for backend in backends if backend != 'triton' or not is_exporting()]


@torch.compiler.assume_constant_result  # the self-check runs while a graph is traced, without becoming part of it
def checked_order(name: str, device: torch.device, dtype: torch.dtype) -> list[Backend]:
    """Returns the backends that the self-check accepts, the fastest first."""
    return cast(list[Backend], fastest_first(OPERATORS[name].checked(device, dtype)))


@torch.compiler.assume_constant_result
def is_exporting() -> bool:
    """Returns whether ``torch.export`` is tracing.

    torch.compile must not trace this function, because it replaces ``torch.compiler.is_exporting()`` by True.
    """
    return versions.is_exporting()


def why_not_backend(backend: str, x: Tensor) -> str | None:
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
