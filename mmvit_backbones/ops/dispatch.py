"""Operators that have a reference in plain PyTorch and faster kernels, and the fixed order in which these are used."""
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast, get_args

import torch
from torch import Tensor

from ..errors import UsageError
from ..utils import versions
from . import triton
from .backend import Backend
from .graphs import is_compiling, is_exporting, is_transformed
from .library import Library
from .triton.backend import Triton

BackendName = Literal['reference', 'cpp', 'cuda', 'triton']
Kernels = Literal['reference', 'triton']
Result = TypeVar('Result')  # a tensor or a tuple of tensors


# ---- requests


def check_kernels(name: str, kernels: str | None) -> Kernels | None:
    """Returns what an argument or environment variable requests; raises UsageError if it is unknown."""
    if kernels not in (None, *get_args(Kernels)):
        raise UsageError(f'{name} must be one of {get_args(Kernels)} or not be set, got {kernels!r}')
    return cast(Kernels | None, kernels)


# A variable of the process and not of the context, because autograd recomputes blocks in other threads.
requested: Kernels | None = check_kernels('MMVIT_KERNELS', os.environ.get('MMVIT_KERNELS') or None)


class use_kernels:
    """Requests kernels for all operators, in all threads of this process.

    The request takes effect at once. As a context, it ends with the ``with`` block; one object can be a context again
    and again. The backward pass of blocks with activation checkpointing must be in the same block as their forward
    pass. Programs of ``torch.compile`` are compiled again after a change.

    Args:
        kernels (str | None): ``'triton'`` for Triton's kernels, wherever they can run; ``'reference'`` for plain
            PyTorch; None for the default order (see :class:`Operator`). The environment variable ``MMVIT_KERNELS``
            makes the same request when the package is imported.

    Raises:
        UsageError: If ``kernels`` has another value.

    Example:
        >>> from mmvit_backbones.ops import use_kernels
        >>> with use_kernels('reference'):
        ...     pass  # operators run in plain PyTorch
        >>> _ = use_kernels(None)  # from now on, the default order
    """

    def __init__(self, kernels: Kernels | None) -> None:
        global requested
        self.kernels: Kernels | None = check_kernels('kernels', kernels)
        self.before: list[Kernels | None] = [requested]  # this call, and then each open block
        self.is_new = True
        requested = self.kernels

    def __enter__(self) -> None:
        global requested
        if not self.is_new or requested != self.kernels:  # else, this block also ends the request of the call
            self.before.append(requested)
        self.is_new, requested = False, self.kernels

    def __exit__(self, *exception: object) -> None:
        global requested
        requested = self.before.pop()


@contextmanager
def plain_pytorch() -> Iterator[None]:
    """Makes operators run in plain PyTorch inside this context, unless a call requests a backend.

    As ``use_kernels('reference')``, and without fused kernels of ``F.scaled_dot_product_attention``; also a decorator.
    Second derivatives need it, because kernels have only the first, and so does forward mode for the fused kernels. In
    ``torch.func`` transforms and forward mode, operators run in plain PyTorch without it, from PyTorch 2.7 on.
    """
    with use_kernels('reference'), versions.plain_attention():
        yield


# ---- operators


class Kernel(NamedTuple):
    """A function with an operator's arguments and results.

    Args:
        run (Callable): The function; it takes the arguments by keyword.
        why_not (Callable): ``why_not(**arguments)`` returns the reason why it can't take these arguments, or None if it
            can. What all kernels of a backend have in common is in :class:`.Backend`.
        is_faster (Callable): ``is_faster(**arguments)`` returns whether Triton's kernel was measured to be faster with
            such arguments, and therefore runs without a request.
    """
    run: Callable[..., Any]
    why_not: Callable[..., str | None] = lambda **arguments: None
    is_faster: Callable[..., bool] = lambda **arguments: False


class Operator(Generic[Result]):
    """A function of tensors and numbers that runs a kernel where possible, and its reference otherwise.

    Calls take the reference's arguments by keyword, and optionally a backend. A requested backend that is unknown or
    can't run raises a ValueError with the reason. If no backend is requested, the first of these that can run is used:

    - ``triton``, if :class:`use_kernels` or the environment variable ``MMVIT_KERNELS`` requests it, or where it is
      measured to be faster (:class:`Kernel`);
    - ``cpp`` on CPUs; ``cuda`` on GPUs, unless algorithms must be deterministic;
    - the reference, in plain PyTorch, also for ``torch.func`` transforms and forward mode.

    This depends only on the device, dtype and shapes of the arguments, on these requests and on what is compiled, so
    that all processes of a training run the same kernels. Meta tensors are treated like tensors on an
    NVIDIA GPU of capability 9.0, for which all kernels are compiled if those in C++ are.
    Programs of ``torch.export`` and ONNX files contain only the reference.

    Args:
        name (str): Name of the operator in messages.
        reference (Callable): The operator in plain PyTorch, which is the backend ``'reference'``.
        like (str): Name of the tensor argument whose device and dtype determine which backends can run.
        kernels (Kernel): Kernels by backend.
    """

    def __init__(self, name: str, reference: Callable[..., Result], *, like: str, **kernels: Kernel) -> None:
        self.name = name
        self.like = like
        self.kernels = {'reference': Kernel(reference), **kernels}
        OPERATORS[name] = self

    def __call__(self, backend: BackendName | None = None, **arguments) -> Result:
        if backend is None:
            backend = self.choose(arguments)
        elif backend not in self.kernels:
            raise ValueError(f'backend must be one of {tuple(self.kernels)} or None, got {backend!r}')
        elif reason := self.why_not(backend, arguments):
            raise ValueError(f'backend {backend!r} cannot run: {reason}')
        return self.kernels[backend].run(**arguments)

    def why_not(self, backend: BackendName, arguments: dict) -> str | None:
        """Returns the reason why a backend can't run with these arguments, or None if it can."""
        if backend != 'reference' and is_transformed(*arguments.values()):
            return 'torch.func transforms and forward mode need plain PyTorch, as in ops.plain_pytorch()'
        # The backend is asked last, because it may compile kernels.
        return self.kernels[backend].why_not(**arguments) or BACKENDS[backend].why_not(arguments[self.like])

    def choose(self, arguments: dict) -> BackendName:
        """Returns the first backend that can run, and logs it."""
        x, missed = arguments[self.like], ''
        device, is_default = x.device.type, self.runs_triton_by_default(x, arguments)
        for backend in self.order(device, is_default):
            reason = self.why_not(backend, arguments)
            if reason is None:
                log_choice(self.name, device, backend, missed)
                return backend
            is_missing = (is_usual(backend, device) and BACKENDS[backend].why_not(x)
                          or backend == 'triton' and is_default and x.is_cuda)
            if backend == requested or is_missing:
                missed += f'; its {backend} backend cannot run: {reason}'
        raise AssertionError('the reference always runs')

    def runs_triton_by_default(self, x: Tensor, arguments: dict) -> bool:
        """Returns whether Triton runs without a request: not in programs of torch.compile, which were not measured."""
        return ('triton' in self.kernels and not is_compiling() and triton.may_be_default(x)
                and self.kernels['triton'].is_faster(**arguments))

    def order(self, device: str, is_triton_default: bool) -> list[BackendName]:
        """Returns the backends that may run on a type of device, in order of preference."""
        order: list[BackendName] = ['triton'] if requested == 'triton' or is_triton_default else []
        if device == 'cpu':
            order.append('cpp')
        elif not torch.are_deterministic_algorithms_enabled():  # gradients in CUDA are added in any order
            order.append('cuda')
        if is_plain():
            order = []
        return [*(backend for backend in order if backend in self.kernels), 'reference']


OPERATORS: dict[str, Operator] = {}  # by name
BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (
    Backend(), Library('cpp', 'cpu'), Library('cuda', 'cuda'), Triton())}


def backends_in_use(device: torch.device) -> dict[str, str]:
    """Returns which backends operators ran on a type of device since :func:`forget_backends`, by operator.

    Several backends of an operator, for different shapes or dtypes, are joined by "and".
    """
    in_use = sorted(choice for choice in ran if choice[1] == device.type)
    return {name: ' and '.join(backend for other, _, backend in in_use if other == name) for name, *_ in in_use}


def forget_backends() -> None:
    """Makes :func:`backends_in_use` empty."""
    ran.clear()


def is_plain() -> bool:
    """Returns whether all operators run in plain PyTorch: on request, or for runtimes, which lack our operators."""
    return requested == 'reference' or is_exporting()


def is_usual(backend: str, device: str) -> bool:
    """Returns whether complete installations run a backend by default on a type of device."""
    return (backend, device) == ('cpp', 'cpu') or (backend, device) == ('cuda', 'cuda') and torch.version.hip is None


ran: set[tuple[str, str, str]] = set()  # (operator, device, backend)
logged: set[tuple] = set()  # (operator, device, backend, whether a kernel was missing)


@versions.constant_in_graphs  # logs while a graph is traced, without becoming part of it
def log_choice(name: str, device: str, backend: str, missed: str) -> None:
    """Logs a choice the first time that it is made, as a warning if a requested or usual kernel is missing."""
    ran.add((name, device, backend))
    key = name, device, backend, bool(missed)
    if key not in logged:
        logged.add(key)
        logging.getLogger(__name__).log(logging.WARNING if missed else logging.INFO,
                                        '%s runs its %s backend on %s%s', name, backend, device, missed)
