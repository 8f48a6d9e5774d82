"""Compares the backends of operators on a device: agreement with the reference in float64, time, and the default.

``mmvit doctor`` runs this module. Networks never do.
"""
import math
import statistics
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from mmvit_backbones.errors import first_line
from mmvit_backbones.ops.dispatch import BACKENDS, BackendName, Operator
from mmvit_backbones.ops.triton import INTERPRETED
from mmvit_backbones.ops.varied_size_window import to_position_dtype
from mmvit_backbones.utils import versions

from ..utils.tables import as_markdown
from .timing import graph_seconds, take_turns

# Maximum deviation from the reference in float64, relative to the largest element. A kernel may also deviate four times
# as much as the reference in the same dtype.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}
# Maps in tokens: one that is not divisible into windows, and the first stage for an image of 224 x 224 and 800 x 1216.
SIZES = (9, 12), (56, 56), (200, 304)
TOKENS_ON_GPUS = 200_000  # of a batch, because a GPU computes one image faster than Python launches its kernels
REPEATS = 3


Randn = Callable[..., Tensor]  # randn(*shape) returns a tensor on the device and in the dtype of the check


class Figures(NamedTuple):
    """Measurements of a backend.

    Args:
        deviation (float): From the reference in float64, relative to the largest element; NaN if it was not computed.
        forward, step (float): Median seconds of a forward pass, and of a forward and backward pass, on a GPU as a
            replayed CUDA graph where possible; infinite if they were not measured.
        fault (str | None): Why the backend must not be used, or None if it works.
    """
    deviation: float = math.nan
    forward: float = math.inf
    step: float = math.inf
    fault: str | None = None

    @property
    def is_wrong(self) -> bool:
        """Returns whether results or gradients deviate."""
        return self.fault is not None and self.forward < math.inf


class Row(NamedTuple):
    """Figures of an operator by backend, beginning with the reference, in a dtype and at one of :data:`SIZES`."""
    operator: Operator
    dtype: torch.dtype
    size: tuple[int, int]
    figures: dict[str, Figures]


def measure(operators: Iterable[Operator], device: torch.device, sizes: Iterable[tuple[int, int]] = SIZES
            ) -> list[Row]:
    """Returns a row for each operator that has a kernel for the device, dtype and size.

    Triton's interpreter runs only the smallest size.

    Args:
        operators (Iterable[Operator]): Operators whose backends are compared.
        device (torch.device): Device of the backends.
        sizes (Iterable[tuple[int, int]]): Some of :data:`SIZES`. Defaults to all.
    """
    rows = []
    dtypes = [dtype for dtype in TOLERANCES if device.type != 'cpu' or dtype != torch.float16]  # not on older CPUs
    for operator in operators:
        for size in sizes:
            exact = None
            for dtype in dtypes:
                x = torch.empty(0, dtype=dtype, device=device)
                kernels = [backend for backend in operator.kernels
                           if backend != 'reference' and BACKENDS[backend].why_not(x) is None
                           and not (backend == 'triton' and INTERPRETED and size != SIZES[0])]
                if not kernels:
                    continue
                exact = exact or expected_values(operator, arguments_of(operator, size, device, torch.float64))
                arguments, figures = arguments_of(operator, size, device, dtype), {}
                for backend in ('reference', *kernels):
                    limit = max(limit_of(dtype), 4 * figures['reference'].deviation if figures else math.inf)
                    figures[backend] = figures_of(operator, backend, arguments, exact, limit)
                rows.append(Row(operator, dtype, size, figures))
    return rows


def arguments_of(operator: Operator, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> dict:
    """Returns the arguments of a call of an operator at one of :data:`SIZES`."""
    source = torch.device('cpu') if device.type == 'meta' else device
    generator = torch.Generator(source).manual_seed(0)

    def randn(*shape: int) -> Tensor:
        """Returns values that bfloat16 can represent, so that inputs are the same in all dtypes."""
        return torch.randn(shape, generator=generator, device=source).bfloat16().to(device, dtype)

    batch = 1 if device.type == 'cpu' else TOKENS_ON_GPUS // math.prod(size)
    arguments = ARGUMENTS[operator.name](randn, batch, *size)
    for name, x in arguments.items():
        if torch.is_tensor(x) and name != 'mask':  # for whose gradient kernels don't run
            x.requires_grad_()
    return arguments


def limit_of(dtype: torch.dtype) -> float:
    """Returns the deviation that is always allowed; TF32 has as many bits of precision as float16."""
    return TOLERANCES[torch.float16 if dtype == torch.float32 and versions.allows_tf32() else dtype]


def expected_values(operator: Operator, arguments: dict) -> list[Tensor | None] | Exception:
    try:
        return values_of(operator, 'reference', arguments)
    except Exception as error:  # e.g. a lack of memory
        return error


def values_of(operator: Operator, backend: str, arguments: dict) -> list[Tensor | None]:
    """Returns the results of a call, followed by the gradients of their sum of squares; None if unused."""
    results = forward(operator, backend, arguments)
    return [*(x.detach() for x in results), *backward(results, arguments)]


def forward(operator: Operator, backend: str, arguments: dict) -> tuple[Tensor, ...]:
    results = operator.kernels[backend].run(**arguments)
    return results if isinstance(results, tuple) else (results, )


def backward(results: tuple[Tensor, ...], arguments: dict) -> tuple[Tensor | None, ...]:
    leaves = [x for x in arguments.values() if torch.is_tensor(x) and x.requires_grad]
    return torch.autograd.grad(results, leaves, [2 * x.detach() for x in results], allow_unused=True)


def figures_of(operator: Operator, backend: str, arguments: dict, exact: list[Tensor | None] | Exception,
               limit: float) -> Figures:
    try:
        if isinstance(exact, Exception):
            raise exact
        deviation = deviation_of(values_of(operator, backend, arguments), exact)  # also compiles the kernels
        times = times_of(operator, backend, arguments)
    except Exception as error:  # compilers and drivers raise many types of errors
        return Figures(fault=f'fails: {first_line(error)}')
    return Figures(deviation, *times, None if deviation <= limit else f'wrong, deviates by {deviation:.0e}')


def deviation_of(actual: list[Tensor | None], expected: list[Tensor | None]) -> float:
    """Returns the largest deviation relative to the largest element of a tensor, or NaN if an element is NaN."""
    found = [(a.double() - e).abs().max() / e.abs().max().clamp_min(1e-30)
             for a, e in zip(actual, expected, strict=True) if a is not None and e is not None]
    return torch.stack(found).max().item()  # NaN if any is NaN


def times_of(operator: Operator, backend: str, arguments: dict) -> tuple[float, float]:
    """Returns the seconds of a call, and of a call and its gradients (:class:`Figures`)."""
    def seconds(function: Callable[[], object]) -> float:
        graph = graph_seconds(function, REPEATS) if arguments[operator.like].is_cuda else None
        return graph or statistics.median(take_turns([function], REPEATS)[0])

    with torch.no_grad():
        alone = seconds(lambda: forward(operator, backend, arguments))
    return alone, seconds(lambda: backward(forward(operator, backend, arguments), arguments))


# ---- arguments of the operators


def residual_attention_arguments(randn: Randn, batch: int, height: int, width: int) -> dict:
    """Returns the arguments with the windows of ReSwin-T's first stage."""
    windows = -(-height // 7) * -(-width // 7)
    q, k, v = randn(3, batch, windows, 3, 49, 32).unbind(0)
    return dict(q=q, k=k, v=v, prev_logits=randn(batch, windows, 3, 49, 49), alpha=0.3, bias=randn(3, 49, 49),
                mask=randn(windows, 1, 49, 49))


def sampling_arguments(randn: Randn, batch: int, height: int, width: int) -> dict:
    """Returns the arguments with the sizes of ViTAEv2-VSA-S's first stage.

    The windows of 7 x 7 tokens have positions that float32 represents exactly. No position is a whole pixel, where
    derivatives would depend on the rounding.
    """
    features = randn(batch, height, width, 2, 32).permute(0, 3, 4, 1, 2)
    scale, offset = randn(2, batch, 2, 2, -(-height // 7), -(-width // 7)).unbind(0)
    scale, offset = to_position_dtype(offset, scale, offset)
    return dict(features=features, scale=(2 * scale).round() / 8, offset=(16 * offset).round() / 8 + 1 / 16,
                window_size=7, top=0, left=0)


def attention_arguments(randn: Randn, batch: int, height: int, width: int) -> dict:
    """Returns the arguments with the windows of :func:`sampling_arguments`."""
    sampling = sampling_arguments(randn, batch, height, width)
    k = sampling.pop('features')
    bias_table, = to_position_dtype(k, randn(13**2, 2))
    return dict(q=torch.empty_like(k).copy_(randn(*k.shape)), k=k, v=torch.empty_like(k).copy_(randn(*k.shape)),
                bias_table=bias_table, softmax_scale=0.2, **sampling)


ARGUMENTS: dict[str, Callable[[Randn, int, int, int], dict]] = {  # by operator
    'residual attention': residual_attention_arguments, 'varied-size window sampling': sampling_arguments,
    'varied-size window attention': attention_arguments}


# ---- results


def table(rows: list[Row]) -> str:
    """Returns a Markdown table of the rows."""
    return as_markdown([dict(operator=row.operator.name, dtype=str(row.dtype)[6:], tokens='{} x {}'.format(*row.size),
                             **{backend: describe(found) for backend, found in row.figures.items()}) for row in rows])


def describe(found: Figures) -> str:
    """Returns a table cell: milliseconds of a forward pass and of both passes, and the deviation or fault."""
    times = f'{1e3 * found.forward:.3g}, {1e3 * found.step:.3g}' if found.forward < math.inf else ''
    return f'{times} ({found.fault or f"{found.deviation:.0e}"})'.strip()


def wrong_kernels(rows: list[Row]) -> list[str]:
    """Returns a description of each backend whose results or gradients deviate."""
    found = {f'{backend} of {row.operator.name} in {str(row.dtype)[6:]}': None
             for row in rows for backend, figures in row.figures.items() if figures.is_wrong}
    return list(found)


def describe_defaults(operator: Operator, device: torch.device) -> list[str]:
    """Returns a line per backend that an operator runs by default on a device: in which dtypes, and why no other."""
    lines: dict[str, list[str]] = {}
    for dtype in TOLERANCES:
        arguments = arguments_of(operator, (56, 56), device, dtype)
        chosen = operator.choose(arguments)
        reasons = '; '.join(
            f'{backend}: {operator.why_not(cast(BackendName, backend), arguments) or "runs on request"}'
            for backend in operator.kernels if backend not in (chosen, 'reference'))
        lines.setdefault(f'runs {chosen}{f" ({reasons})" if reasons else ""}', []).append(str(dtype)[6:])
    return [f'{operator.name} in {", ".join(dtypes)} {text}' for text, dtypes in lines.items()]
