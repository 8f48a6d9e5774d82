"""Compares the kernels of an operator with its reference on a GPU before they are used: results, gradients and time."""
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import _disable_current_modes

from ..errors import first_line
from ..utils import versions
from .precision import without_autocast

# Maximum deviation of a kernel from its reference, relative to the largest element. The reference runs on the CPU in
# float32, or in float64 if the kernel runs in float32. Kernels in float64 are not checked.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}
SIZES = (56, 56), (200, 304)  # tokens of the first stage, for an image of 224 x 224 and of 800 x 1216
REPEATS, LONG_SECONDS = 3, 0.05  # a measurement ends after three steps, or after a step that takes long


class Operator(Protocol):
    """What the self-check needs of :class:`.dispatch.Operator`."""
    name: str
    example: Callable[..., list[dict]]
    workload: Callable[..., dict]

    def __call__(self, backend: Any, **arguments) -> Any: ...

    def checked(self, device: torch.device, dtype: torch.dtype) -> list['Row']: ...


class Row(NamedTuple):
    """What was found out about one backend of an operator.

    Args:
        backend (str): Name of the backend; ``'reference'`` runs on the same device.
        deviation (float): From the reference on the CPU, relative to the largest element; NaN if it was not computed.
        seconds (tuple[float, ...]): Time of a forward and backward pass at each of :data:`SIZES`, or an empty tuple.
        reason (str | None): Why the backend is not used, or None if it is.
    """
    backend: str
    deviation: float = math.nan
    seconds: tuple[float, ...] = ()
    reason: str | None = None


def check(operator: Operator, backends: Iterable[str], device: torch.device, dtype: torch.dtype,
          clock: Callable[[], float] = time.perf_counter) -> list[Row]:
    """Returns a row for the reference, and a row for each backend.

    A backend is used if it agrees with the reference on the CPU, and is faster than it at all :data:`SIZES`.

    Args:
        operator (Operator): Operator whose backends are compared.
        backends (Iterable[str]): Backends that can run on the device.
        device (torch.device): Device of the backends and of the reference.
        dtype (torch.dtype): One of :data:`TOLERANCES`.
        clock (Callable): Returns the current time in seconds.
    """
    rows = []
    with undisturbed():
        try:
            reference = seconds_of(operator, 'reference', device, dtype, clock)
        except Exception:  # the reference of sampling has no deterministic gradients on GPUs
            reference = (math.inf, ) * len(SIZES)
        rows.append(Row('reference', seconds=reference))
        for backend in backends:
            row = Row(backend)
            try:
                row = row._replace(deviation=deviation_of(operator, backend, device, dtype))
                limit = limit_of(dtype)
                if not row.deviation <= limit:
                    reason = f'its kernels deviate by {row.deviation:.1e} of the largest element, the limit is {limit}'
                    rows.append(row._replace(reason=reason))
                    continue
                row = row._replace(seconds=seconds_of(operator, backend, device, dtype, clock))
            except Exception as error:  # compilers and drivers raise many types of errors
                rows.append(row._replace(reason=f'its kernels raise {first_line(error)}'))
                continue
            slow = [f'{own:.1e} s at {height} x {width} tokens instead of {other:.1e} s'
                    for own, other, (height, width) in zip(row.seconds, reference, SIZES) if not own < other]
            reason = f'its kernels are not faster than plain PyTorch: {", ".join(slow)}' if slow else None
            rows.append(row._replace(reason=reason))
    return rows


def fastest_first(rows: list[Row]) -> list[str]:
    """Returns the backends to use, in order of their total time, ending with the reference."""
    used = sorted((row for row in rows[1:] if row.reason is None), key=lambda row: sum(row.seconds))
    return [*(row.backend for row in used), 'reference']


@contextmanager
def undisturbed() -> Iterator[None]:
    """Separates the self-check from inference mode, dispatch modes and activation checkpointing of the caller."""
    with torch.inference_mode(False), _disable_current_modes(), saved_tensors_hooks(lambda x: x, lambda x: x):
        yield


def limit_of(dtype: torch.dtype) -> float:
    """Returns the largest deviation that is allowed; TF32 has as many bits of precision as float16."""
    return TOLERANCES[torch.float16 if dtype == torch.float32 and versions.allows_tf32() else dtype]


def deviation_of(operator: Operator, backend: str, device: torch.device, dtype: torch.dtype) -> float:
    """Returns the largest deviation from the reference in the operator's example, or NaN if a result is NaN."""
    cpu, exact = torch.device('cpu'), torch.float64 if dtype == torch.float32 else torch.float32
    actual, expected = run_example(operator, backend, device, dtype), run_example(operator, 'reference', cpu, exact)
    found = [(a.to(cpu, exact) - e).abs().max() / e.abs().max().clamp_min(1e-30)
             for a, e in zip(actual, expected, strict=True) if a is not None and e is not None]
    return torch.stack(found).max().item()  # NaN if any is NaN


def run_example(operator: Operator, backend: str, device: torch.device, dtype: torch.dtype) -> list[Tensor | None]:
    """Returns the results of each example call, followed by the gradients of their sum of squares.

    The gradient of an unused argument is None.
    """
    generator, found = torch.Generator().manual_seed(0), []

    def randn(*shape: int) -> Tensor:
        """Returns values that bfloat16 can represent, so that inputs are the same in all dtypes."""
        return torch.randn(shape, generator=generator, device='cpu').bfloat16().to(device, dtype)

    with torch.enable_grad(), without_autocast(device.type):
        for arguments in operator.example(randn):
            results, gradients = forward_and_backward(operator, backend, arguments)
            found += [*(x.detach() for x in results), *gradients]
    return found


def forward_and_backward(operator: Operator, backend: str, arguments: dict) -> tuple[tuple, tuple]:
    """Returns the results, and the gradients of their sum of squares with respect to all tensors."""
    leaves = [x.requires_grad_() for x in arguments.values() if torch.is_tensor(x)]
    results = operator(backend, **arguments)
    results = results if isinstance(results, tuple) else (results, )
    gradients = torch.autograd.grad(results, leaves, [2 * x.detach() for x in results], allow_unused=True)
    return results, gradients


def seconds_of(operator: Operator, backend: str, device: torch.device, dtype: torch.dtype,
               clock: Callable[[], float]) -> tuple[float, ...]:
    """Returns the time of a forward and backward pass at each of :data:`SIZES`, the shortest of a few."""
    generator = torch.Generator(device).manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device, dtype=dtype)

    def step(arguments: dict) -> float:
        wait_for(device)
        start = clock()
        forward_and_backward(operator, backend, arguments)
        wait_for(device)
        return clock() - start

    found = []
    with torch.enable_grad(), without_autocast(device.type):
        for size in SIZES:
            arguments, times = operator.workload(randn, *size), []
            step(arguments)  # compiles kernels
            while len(times) < REPEATS and max(times, default=0) < LONG_SECONDS:
                times.append(step(arguments))
            found.append(min(times))
    return tuple(found)


def wait_for(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def table(operators: Iterable[Operator], device: torch.device) -> list[str]:
    """Returns a Markdown table of the backends of operators on a GPU, in all dtypes that are checked."""
    names = ' | '.join(f'{height} x {width}, ms' for height, width in SIZES)
    lines = [f'| operator | dtype | backend | deviation | {names} | used |', '|---' * (5 + len(SIZES)) + '|']
    for operator in operators:
        for dtype in TOLERANCES:
            lines += lines_of(operator.name, str(dtype)[6:], operator.checked(device, dtype))
    return lines


def lines_of(name: str, dtype: str, rows: list[Row]) -> list[str]:
    """Returns the lines of an operator and a dtype."""
    first, lines = fastest_first(rows)[0], []
    for row in rows:
        deviation = '' if math.isnan(row.deviation) else f'{row.deviation:.0e}'
        times = [f'{1e3 * seconds:.3f}' for seconds in row.seconds] or [''] * len(SIZES)
        used = 'yes' if row.backend == first else row.reason or 'if the others cannot run'
        lines.append(f'| {" | ".join([name, dtype, row.backend, deviation, *times, used])} |')
    return lines
