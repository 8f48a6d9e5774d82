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
from mmvit_backbones.ops.dispatch import Backend, Operator, why_not_backend
from mmvit_backbones.ops.triton import INTERPRETED
from mmvit_backbones.ops.varied_size_window import to_position_dtype
from mmvit_backbones.utils import versions
from mmvit_backbones.utils.messages import markdown_table

from .timing import graph_seconds, take_turns

# Maximum deviation from the reference in float64, relative to the largest element. A kernel may also deviate four times
# as much as the reference in the same dtype.
TOLERANCES = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}
# Tokens of the first stage, for an image of 224 x 224 and of 800 x 1216. None stands for the operator's example.
SIZES = {'toy': None, '56 x 56': (56, 56), '200 x 304': (200, 304)}
TOKENS_ON_GPUS = 200_000  # of a batch, because a GPU computes one image faster than Python launches its kernels
REPEATS = 3


Randn = Callable[..., Tensor]  # randn(*shape) returns a tensor on the device and in the dtype of the check


class Figures(NamedTuple):
    """What was measured of a backend.

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
        """Whether results or gradients deviate."""
        return self.fault is not None and self.forward < math.inf


class Row(NamedTuple):
    """Figures of an operator by backend, beginning with the reference, in a dtype and at one of :data:`SIZES`."""
    operator: Operator
    dtype: torch.dtype
    size: str
    figures: dict[str, Figures]


def measure(operators: Iterable[Operator], device: torch.device, sizes: Iterable[str] = SIZES) -> list[Row]:
    """Returns a row for each operator that has a kernel for the device, dtype and size.

    Triton's interpreter runs only the smallest size.

    Args:
        operators (Iterable[Operator]): Operators whose backends are compared.
        device (torch.device): Device of the backends.
        sizes (Iterable[str]): Some of :data:`SIZES`. Defaults to all.
    """
    rows = []
    dtypes = [dtype for dtype in TOLERANCES if device.type != 'cpu' or dtype != torch.float16]  # not on older CPUs
    for operator in operators:
        for size in sizes:
            exact = None
            for dtype in dtypes:
                x = torch.empty(0, dtype=dtype, device=device)
                kernels = [backend for backend in operator.kernels
                           if backend != 'reference' and why_not_backend(backend, x) is None
                           and not (backend == 'triton' and INTERPRETED and SIZES[size])]
                if not kernels:
                    continue
                exact = exact or expected_values(operator, calls_of(operator, size, device, torch.float64))
                calls, figures = calls_of(operator, size, device, dtype), {}
                for backend in ('reference', *kernels):
                    limit = max(limit_of(dtype), 4 * figures['reference'].deviation if figures else math.inf)
                    figures[backend] = figures_of(operator, backend, calls, exact, limit)
                rows.append(Row(operator, dtype, size, figures))
    return rows


def calls_of(operator: Operator, size: str, device: torch.device, dtype: torch.dtype) -> list[dict]:
    """Returns the arguments of an operator's calls at one of :data:`SIZES`."""
    source = torch.device('cpu') if device.type == 'meta' else device
    generator = torch.Generator(source).manual_seed(0)

    def randn(*shape: int) -> Tensor:
        """Returns values that bfloat16 can represent, so that inputs are the same in all dtypes."""
        return torch.randn(shape, generator=generator, device=source).bfloat16().to(device, dtype)

    tokens = SIZES[size]
    example, workload = CALLS[operator.name]
    if tokens is None:
        calls = example(randn)
    else:
        batch = 1 if device.type == 'cpu' else TOKENS_ON_GPUS // math.prod(tokens)
        calls = [workload(randn, batch, *tokens)]
    for arguments in calls:
        for x in arguments.values():
            if torch.is_tensor(x):
                x.requires_grad_()
    return calls


def limit_of(dtype: torch.dtype) -> float:
    """Returns the deviation that is always allowed; TF32 has as many bits of precision as float16."""
    return TOLERANCES[torch.float16 if dtype == torch.float32 and versions.allows_tf32() else dtype]


def expected_values(operator: Operator, calls: list[dict]) -> list[Tensor | None] | Exception:
    try:
        return values_of(operator, 'reference', calls)
    except Exception as error:  # e.g. a lack of memory
        return error


def values_of(operator: Operator, backend: str, calls: list[dict]) -> list[Tensor | None]:
    """Returns the results of each call, followed by the gradients of their sum of squares; None if unused."""
    values = []
    for arguments in calls:
        results = forward(operator, backend, arguments)
        values += [*(x.detach() for x in results), *backward(results, arguments)]
    return values


def forward(operator: Operator, backend: str, arguments: dict) -> tuple[Tensor, ...]:
    results = operator.kernels[backend].run(**arguments)
    return results if isinstance(results, tuple) else (results, )


def backward(results: tuple[Tensor, ...], arguments: dict) -> tuple[Tensor | None, ...]:
    leaves = [x for x in arguments.values() if torch.is_tensor(x)]
    return torch.autograd.grad(results, leaves, [2 * x.detach() for x in results], allow_unused=True)


def figures_of(operator: Operator, backend: str, calls: list[dict], exact: list[Tensor | None] | Exception,
               limit: float) -> Figures:
    try:
        if isinstance(exact, Exception):
            raise exact
        deviation = deviation_of(values_of(operator, backend, calls), exact)  # also compiles the kernels
        times = times_of(operator, backend, calls)
    except Exception as error:  # compilers and drivers raise many types of errors
        return Figures(fault=f'fails: {first_line(error)}')
    return Figures(deviation, *times, None if deviation <= limit else f'wrong, deviates by {deviation:.0e}')


def deviation_of(actual: list[Tensor | None], expected: list[Tensor | None]) -> float:
    """Returns the largest deviation relative to the largest element of a tensor, or NaN if an element is NaN."""
    found = [(a.double() - e).abs().max() / e.abs().max().clamp_min(1e-30)
             for a, e in zip(actual, expected, strict=True) if a is not None and e is not None]
    return torch.stack(found).max().item()  # NaN if any is NaN


def times_of(operator: Operator, backend: str, calls: list[dict]) -> tuple[float, float]:
    """Returns the seconds of the calls, and of the calls and their gradients (:class:`Figures`)."""
    def forwards() -> None:
        with torch.no_grad():
            for arguments in calls:
                forward(operator, backend, arguments)

    def steps() -> None:
        for arguments in calls:
            backward(forward(operator, backend, arguments), arguments)

    def seconds(function: Callable[[], None]) -> float:
        graph = graph_seconds(function, REPEATS) if calls[0][operator.like].is_cuda else None
        return graph or statistics.median(take_turns([function], REPEATS)[0])

    return seconds(forwards), seconds(steps)


# ---- calls of the operators


def residual_example(randn: Randn) -> list[dict]:
    """Returns three calls: with windows and a mask, with ``alpha`` as a tensor, and without ``prev_logits``."""
    return [
        dict(q=randn(2, 3, 2, 70, 48), k=randn(2, 3, 2, 35, 48), v=randn(2, 3, 2, 35, 48),
             prev_logits=randn(2, 3, 2, 70, 35), alpha=0.3, bias=randn(2, 70, 35), mask=randn(3, 1, 70, 35)),
        dict(q=randn(2, 3, 10, 20), k=randn(2, 3, 70, 20), v=randn(2, 3, 70, 20),
             prev_logits=randn(2, 1, 10, 70), alpha=randn(), bias=randn(2, 3, 10, 70), mask=None),
        dict(q=randn(2, 3, 17, 16), k=randn(2, 3, 17, 16), v=randn(2, 3, 17, 16),
             prev_logits=None, alpha=0.3, bias=None, mask=None),
    ]


def residual_workload(randn: Randn, batch: int, height: int, width: int) -> dict:
    """Returns a call with the windows of ReSwin-T's first stage."""
    windows = -(-height // 7) * -(-width // 7)
    q, k, v = randn(3, batch, windows, 3, 49, 32).unbind(0)
    prev_logits, bias = randn(batch, windows, 3, 49, 49), randn(3, 49, 49)
    return dict(q=q, k=k, v=v, prev_logits=prev_logits, alpha=0.3, bias=bias, mask=None)


def sample_example(randn: Randn) -> list[dict]:
    """Returns a call with windows that are partly outside the map."""
    return [dict(features=randn(2, 2, 32, 9, 12), **random_windows(randn, 2, 2, 2, 2))]


def sample_workload(randn: Randn, batch: int, height: int, width: int) -> dict:
    """Returns a call with the sizes of ViTAEv2-VSA-S's first stage."""
    features = randn(batch, height, width, 2, 32).permute(0, 3, 4, 1, 2)
    return dict(features=features, **random_windows(randn, batch, 2, -(-height // 7), -(-width // 7)))


def random_windows(randn: Randn, batch: int, heads: int, rows: int, columns: int) -> dict:
    """Returns scales and offsets of windows of 7 x 7 tokens, with positions that float32 represents exactly.

    No position is a whole pixel, where derivatives would depend on the rounding.
    """
    scale, offset = randn(2, batch, heads, 2, rows, columns).unbind(0)
    scale, offset = to_position_dtype(offset, scale, offset)
    return dict(scale=(2 * scale).round() / 8, offset=(16 * offset).round() / 8 + 1 / 16, window_size=7, top=0, left=0)


def attention_example(randn: Randn) -> list[dict]:
    """Returns a call with the windows of :func:`sample_example`."""
    return [attention_arguments(randn, *sample_example(randn))]


def attention_workload(randn: Randn, batch: int, height: int, width: int) -> dict:
    """Returns a call with the windows of :func:`sample_workload`."""
    return attention_arguments(randn, sample_workload(randn, batch, height, width))


def attention_arguments(randn: Randn, sampling: dict) -> dict:
    k = sampling.pop('features')
    bias_table, = to_position_dtype(k, randn(13**2, 2))
    return dict(q=torch.empty_like(k).copy_(randn(*k.shape)), k=k, v=torch.empty_like(k).copy_(randn(*k.shape)),
                bias_table=bias_table, softmax_scale=0.2, **sampling)


class Calls(NamedTuple):
    """The calls by which an operator is checked.

    Args:
        example (Callable): ``example(randn)`` returns the arguments of small calls, as a list of dicts.
        workload (Callable): ``workload(randn, batch, height, width)`` returns the arguments of a call of realistic
            size, for maps of this many tokens.
    """
    example: Callable[[Randn], list[dict]]
    workload: Callable[[Randn, int, int, int], dict]


CALLS = {'residual attention': Calls(residual_example, residual_workload),
         'varied-size window sampling': Calls(sample_example, sample_workload),
         'varied-size window attention': Calls(attention_example, attention_workload)}  # by operator


# ---- results


def table(rows: list[Row]) -> str:
    """Returns a Markdown table of the rows."""
    kernels = sorted({backend for row in rows for backend in row.figures if backend != 'reference'})
    heads = ['operator', 'dtype', 'tokens', 'reference, ms (deviation)', *(f'{backend}, ms' for backend in kernels)]
    return markdown_table(heads, (
        [operator.name, str(dtype)[6:], size,
         *(describe(figures[backend]) if backend in figures else '' for backend in ('reference', *kernels))]
        for operator, dtype, size, figures in rows))


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
        arguments = calls_of(operator, '56 x 56', device, dtype)[0]
        chosen = operator.choose(arguments)
        reasons = '; '.join(
            f'{backend}: {operator.why_not(cast(Backend, backend), arguments) or "runs on request"}'
            for backend in operator.kernels if backend not in (chosen, 'reference'))
        lines.setdefault(f'runs {chosen}{f" ({reasons})" if reasons else ""}', []).append(str(dtype)[6:])
    return [f'{operator.name} in {", ".join(dtypes)} {text}' for text, dtypes in lines.items()]
