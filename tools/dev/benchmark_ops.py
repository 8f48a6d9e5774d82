#!/usr/bin/env python3
"""Compares the kernels of operators with their references in plain PyTorch, and times varied-size window attention.

    python tools/dev/benchmark_ops.py agreement                   on a GPU, if available
    python tools/dev/benchmark_ops.py agreement --device cpu      C++, and Triton's interpreter if TRITON_INTERPRET=1
    python tools/dev/benchmark_ops.py choice                      which kernels are used on the current GPU
    python tools/dev/benchmark_ops.py time --shapes 224 2048x2048 --dtypes bfloat16

All commands print Markdown tables, and require torch and MMEngine.

`agreement` prints the maximum deviation of results and gradients from the reference in float64, relative to the largest
element, for each kernel and for the reference in the kernel's dtype. The exit code is 1 if a kernel's deviation exceeds
the limit of the operators' self-check and is more than four times the reference's deviation, if a kernel or its
self-check fails, or if no kernel can run on a GPU. Inputs are rounded to the dtype first, so that their rounding errors
do not count.

`time` runs the kernels on random inputs with the shapes of ViTAEv2-VSA-S's four stages. For comparison, it also runs
`grid_sample`, and Swin's shifted windows with scaled_dot_product_attention.
"""
import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.benchmark import Timer

from mmvit_backbones.analysis.counters import SavedStorages
from mmvit_backbones.ops import (
    dispatch,
    library,
    self_check,
    varied_size_window_attention,
    varied_size_window_sample,
)
from mmvit_backbones.ops.normalized_attention import normalized_attention
from mmvit_backbones.ops.residual_attention import residual_attention
from mmvit_backbones.ops.triton import availability
from mmvit_backbones.ops.window import pad_to_multiple, shifted_window_mask, window_partition, window_reverse

WINDOW, CHANNELS_PER_HEAD = 7, 32
HEADS = (2, 4, 8, 16)
SHAPES = {  # number of images, and the size of each stage's map
    '224': (64, [(56, 56), (28, 28), (14, 14), (7, 7)]),
    '800x1333': (2, [(200, 334), (100, 167), (50, 84), (25, 42)]),
    '2048x2048': (1, [(512, 512), (256, 256), (128, 128), (64, 64)]),
    'tiny': (1, [(7, 7), (7, 7), (7, 7), (7, 7)]),
}
DTYPES = {'float64': torch.float64, 'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}
TOLERANCES = {torch.float64: 1e-10, **self_check.TOLERANCES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest='part', required=True)
    part = parts.add_parser('agreement', help='compare kernels with references')
    part.add_argument('--tiny', action='store_true', help="use small inputs, which suit Triton's interpreter")
    part.add_argument('--library', help='library that replaces the C++ backend, such as the emulated CUDA kernels '
                                        'built by tests/ops/emulated/run_tests.py')
    part.set_defaults(run=compare)
    add_common_arguments(part)
    part = parts.add_parser('choice', help='print which kernels are used on the current GPU')
    part.set_defaults(run=print_choice)
    part = parts.add_parser('time', help='time varied-size windows and other methods')
    part.add_argument('--shapes', nargs='+', default=['224', '800x1333', '2048x2048'], choices=SHAPES)
    part.add_argument('--stages', nargs='+', type=int, default=[1, 2, 3, 4], choices=[1, 2, 3, 4])
    part.add_argument('--dtypes', nargs='+', default=['bfloat16', 'float32'], choices=[*DTYPES][1:])
    part.add_argument('--compile', action='store_true', help='also time grid_sample under torch.compile')
    part.add_argument('--seconds', type=float, default=0.3,
                      help='minimum duration of each measurement; default: %(default)s')
    part.set_defaults(run=time_windows)
    add_common_arguments(part)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if not options.run(options):
        sys.exit('some kernels or methods failed')


def add_common_arguments(part: argparse.ArgumentParser) -> None:
    part.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', choices=('cpu', 'cuda'))
    part.add_argument('--backends', nargs='+', default=['cpp', 'cuda', 'triton'], choices=['cpp', 'cuda', 'triton'],
                      help='default: all that the device supports')


def print_row(*cells: object) -> None:
    print(f'| {" | ".join(str(cell).replace("|", "/") for cell in cells)} |', flush=True)


def print_head(*columns: str) -> None:
    print_row(*columns)
    print('|---' * len(columns) + '|')


def first_line(error: Exception) -> str:
    return f'{type(error).__name__}: {(str(error).strip() or "no message").splitlines()[0]}'


def available_backends(options: argparse.Namespace) -> list[str]:
    """Returns the requested backends that can run on the device; prints why the others can't run."""
    available = []
    for backend in options.backends:
        if backend not in ('triton', {'cpu': 'cpp', 'cuda': 'cuda'}[options.device]):
            continue
        reason = why_not_triton(options.device) if backend == 'triton' else library.MISSING[backend]
        if reason is None:
            available.append(backend)
        else:
            print(f'{backend} cannot run: {reason}', flush=True)
    return available


def why_not_triton(device: str) -> str | None:
    """Returns the reason why Triton (on a CPU, its interpreter) can't run, or None if it can."""
    if reason := availability.why_not_triton(torch.empty(1, device=device)):
        return reason
    if device == 'cpu':
        try:
            count_up(torch.zeros(1), 1)
        except Exception as error:  # NumPy 2.5 rejects conversions that Triton 3.6 needs
            return f"Triton's interpreter fails: {first_line(error)}"
    return None


def count_up(x: Tensor, number: int) -> None:
    """Launches a kernel with a loop."""
    import triton
    from triton import language as tl

    @triton.jit
    def kernel(x, number):
        for _ in range(number):
            tl.store(x, tl.load(x) + 1)

    kernel[(1, )](x, number)


# ---- agreement


class Case(NamedTuple):
    title: str
    function: Callable  # takes the tensors, the numbers and a backend; returns a tensor or a tuple
    backends: tuple[str, ...]
    tensors: dict[str, Tensor]
    numbers: dict[str, object] = {}
    exact: tuple[str, ...] = ()  # names of tensors that are never converted to half precision


def cases(tiny: bool) -> list[Case]:
    """Returns random inputs of every operator, in float64; some windows are partly outside the map."""
    generator = torch.Generator().manual_seed(0)
    randn = partial(torch.randn, generator=generator, dtype=torch.float64)

    def windows(batch: int, heads: int, channels: int, height: int, width: int, window_size: int) -> list[Case]:
        q, k, v = randn(batch, height, width, 3, heads, channels).permute(3, 0, 4, 5, 1, 2)  # a packed projection
        scale, offset, bias_table = window_parameters(randn, batch, heads, height, width, window_size)
        # float32 represents these positions exactly. None is a whole pixel, where the derivative is discontinuous.
        scale, offset = (8 * scale).round() / 8, (8 * offset).round() / 8 + 1 / 16
        places, size = dict(scale=scale, offset=offset), dict(window_size=window_size)
        return [
            Case(f'varied-size windows, {height} x {width}', varied_size_window_attention, ('cpp', 'cuda', 'triton'),
                 dict(q=q, k=k, v=v, **places, bias_table=bias_table), size, ('scale', 'offset', 'bias_table')),
            Case(f'sampling of windows, {height} x {width}', varied_size_window_sample, ('cpp', 'cuda', 'triton'),
                 dict(features=k, **places), size, ('scale', 'offset')),
        ]

    def residual(*lead: int, tokens: int, keys: int, channels: int) -> Case:
        """Returns a case with all optional arguments, for windows as in ReSwin or all tokens as in ReViT."""
        tensors = dict(q=randn(*lead, tokens, channels), k=randn(*lead, keys, channels), v=randn(*lead, keys, channels),
                       prev_logits=randn(*lead, tokens, keys), alpha=randn(()), bias=randn(lead[-1], tokens, keys))
        if len(lead) == 3:
            tensors['mask'] = randn(lead[1], 1, tokens, keys)
        return Case(f'residual attention, {tokens} x {keys}', residual_attention, ('triton', ), tensors)

    def normalized(batch: int, heads: int, tokens: int, keys: int, channels: int) -> Case:
        tensors = dict(logits=randn(batch, heads, tokens, keys), value=randn(batch, heads, keys, channels))
        return Case(f'normalized attention, {tokens} x {keys}', normalized_attention, ('triton', ), tensors)

    if tiny:
        return [*windows(1, 1, 8, 5, 6, 3), residual(1, 2, 1, tokens=9, keys=5, channels=8), normalized(1, 1, 9, 5, 8)]
    return [*windows(2, 2, CHANNELS_PER_HEAD, 30, 37, WINDOW), *windows(1, 2, CHANNELS_PER_HEAD, 200, 334, WINDOW),
            residual(2, 64, 3, tokens=49, keys=49, channels=32), residual(2, 12, tokens=197, keys=197, channels=64),
            normalized(2, 1, 3136, 49, 64), normalized(2, 4, 196, 49, 64)]


def window_parameters(randn: Callable, batch: int, heads: int, height: int, width: int,
                      window_size: int = WINDOW) -> list[Tensor]:
    """Returns random scale, offset and biases. Their magnitudes are realistic for trained networks."""
    grid = -(-height // window_size), -(-width // window_size)
    return [0.5 * randn(batch, heads, 2, *grid), 3 * randn(batch, heads, 2, *grid),
            0.02 * randn((2 * window_size - 1)**2, heads)]


def compare(options: argparse.Namespace) -> bool:
    """Prints the deviations of all kernels; returns whether they agree with their references."""
    if options.library:
        torch.ops.load_library(options.library)
    backends = available_backends(options)
    print_head('operator', 'backend', 'dtype', 'results', 'gradients')
    agree = []
    for case in cases(options.tiny):
        if not set(backends) & set(case.backends):
            continue
        for dtype in DTYPES.values():
            expected = evaluate(case, 'reference', dtype, torch.float64, options.device)
            reference = evaluate(case, 'reference', dtype, dtype, options.device)
            if dtype != torch.float64:
                print_deviations(case, 'reference', dtype, reference, expected)
            agree += [compare_backend(case, backend, dtype, reference, expected, options) for backend in backends
                      if backend in case.backends and not (backend == 'triton' and dtype == torch.float64)]
    agree += check_examples(backends, options)
    if not agree:
        print('no kernel was compared', flush=True)
        return options.device == 'cpu'  # kernels are optional on a CPU
    return all(agree)


def compare_backend(case: Case, backend: str, dtype: torch.dtype, reference: list[Tensor], expected: list[Tensor],
                    options: argparse.Namespace) -> bool:
    """Prints the row of a kernel; returns whether it agrees with the reference."""
    name = 'cuda, emulated' if backend == 'cpp' and options.library else backend
    try:
        actual = evaluate(case, backend, dtype, dtype, options.device)
    except Exception as error:  # an error of any type must not stop the other kernels
        print_row(case.title, name, str(dtype)[6:], f'**failed**: {first_line(error)}', '')
        return False
    allowed = [max(TOLERANCES[dtype], 4 * deviation(f, e)) for f, e in zip(reference, expected, strict=True)]
    agrees = all(deviation(a, e) <= limit for a, e, limit in zip(actual, expected, allowed, strict=True))
    print_deviations(case, name, dtype, actual, expected, '' if agrees else ' **failed**')
    return agrees


def evaluate(case: Case, backend: str, rounded: torch.dtype, dtype: torch.dtype, device: str) -> list[Tensor]:
    """Returns the results, and the gradients of all tensors except the mask.

    Args:
        case (Case): Operator and inputs.
        backend (str): Backend of the operator.
        rounded (torch.dtype): Dtype to which inputs are rounded first.
        dtype (torch.dtype): Dtype of the computation.
        device (str): Device of the computation.
    """
    def convert(x: Tensor, at_least: torch.dtype) -> Tensor:
        return x.to(torch.promote_types(rounded, at_least)).to(device, torch.promote_types(dtype, at_least))

    tensors = {name: convert(x, torch.float32 if name in case.exact else rounded).requires_grad_(name != 'mask')
               for name, x in case.tensors.items()}
    results = case.function(**tensors, **case.numbers, backend=backend)
    results = results if isinstance(results, tuple) else (results, )
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(rounded).to(x) for x in results]
    leaves = [x for x in tensors.values() if x.requires_grad]
    return [x.detach() for x in (*results, *torch.autograd.grad(results, leaves, weights))]


def deviation(actual: Tensor, expected: Tensor) -> float:
    """Returns the largest deviation relative to the largest element, or inf if an element is NaN."""
    found = ((actual.double() - expected).abs().max() / expected.abs().max()).item()
    return found if found == found else torch.inf


def print_deviations(case: Case, backend: str, dtype: torch.dtype, actual: list[Tensor], expected: list[Tensor],
                     verdict: str = '') -> None:
    names = [name for name in case.tensors if name != 'mask']
    found = [f'{deviation(a, e):.0e}' for a, e in zip(actual, expected, strict=True)]
    num_results = len(found) - len(names)
    gradients = ', '.join(f'{name} {figure}' for name, figure in zip(names, found[num_results:], strict=True))
    print_row(case.title, backend, str(dtype)[6:], ', '.join(found[:num_results]) + verdict, gradients)


def check_examples(backends: list[str], options: argparse.Namespace) -> list[bool]:
    """Prints whether each kernel passes the self-check that operators run before using it; returns the results."""
    passed = []
    for name, operator in dispatch.OPERATORS.items():
        for backend in backends:
            is_slow = backend == 'triton' and options.tiny  # the interpreter is too slow for the example
            if backend not in operator.functions or is_slow:
                continue
            for dtype in self_check.TOLERANCES:
                found = self_check.deviation_of(operator, backend, torch.device(options.device), dtype)
                passed.append(found <= self_check.limit_of(dtype))
                print_row(f'{name}, self-check', backend, str(dtype)[6:], f'{found:.0e}' if passed[-1] else
                          f'**failed**: {found:.0e}', '')
    return passed


# ---- choice


def print_choice(options: argparse.Namespace) -> bool:
    if not torch.cuda.is_available():
        sys.exit('kernels are compared with plain PyTorch on a GPU, but torch finds none')
    device = torch.device('cuda', torch.cuda.current_device())
    print('\n'.join(self_check.table(dispatch.OPERATORS.values(), device)))
    return True


# ---- time


def varied(backend: str, qkv: Tensor, scale: Tensor, offset: Tensor, bias: Tensor) -> Tensor:
    q, k, v = (x.permute(0, 3, 4, 1, 2) for x in qkv.unflatten(-1, (3, scale.shape[1], -1)).unbind(3))
    out = varied_size_window_attention(q, k, v, scale, offset, bias, WINDOW, backend=backend)
    return out.permute(0, 3, 4, 1, 2).flatten(3)


def shifted(qkv: Tensor, scale: Tensor, offset: Tensor, bias: Tensor) -> Tensor:
    """Computes Swin's shifted window attention with SDPA; ignores scale and offset."""
    (height, width), heads, shift = qkv.shape[1:3], scale.shape[1], WINDOW // 2
    padded = pad_to_multiple(qkv, WINDOW)
    padded_height, padded_width = padded.shape[1:3]
    rolled = padded.roll((-shift, -shift), (1, 2))
    q, k, v = (x.flatten(0, 1) for x in window_partition(rolled, heads, WINDOW))
    position = torch.arange(WINDOW, device=qkv.device)
    row = position[:, None] - position + WINDOW - 1
    index = (row[:, None, :, None] * (2 * WINDOW - 1) + row[None, :, None, :]).flatten(2).flatten(0, 1)
    mask = shifted_window_mask(padded_height, padded_width, WINDOW, shift, bias) + bias.T[:, index]
    mask = mask.expand(qkv.shape[0], *mask.shape).flatten(0, 1).to(q.dtype)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).unflatten(0, (qkv.shape[0], -1))
    out = window_reverse(out, WINDOW, padded_height, padded_width).roll((shift, shift), (1, 2))
    return out[:, :height, :width]


def time_windows(options: argparse.Namespace) -> bool:
    """Prints time and memory of all methods; returns whether all methods could run."""
    methods = {backend: partial(varied, backend) for backend in available_backends(options)}
    methods['grid_sample'] = partial(varied, 'reference')
    if options.compile:
        methods['grid_sample, compiled'] = torch.compile(methods['grid_sample'])
    methods['shifted windows'] = shifted
    print_head('image', 'stage', 'method', 'dtype', 'forward, ms (10th, 90th percentile)',
               'with backward, ms (10th, 90th percentile)',
               'pixel gradients only, ms', 'peak, MiB', 'saved, MiB', 'forward, GB/s')
    can_all_run = True
    for shape in options.shapes:
        for stage in options.stages:
            for dtype in options.dtypes:
                for name, method in methods.items():
                    row = shape, stage, name, dtype
                    try:
                        print_row(*row, *measure(name, method, shape, stage, DTYPES[dtype], options))
                    except Exception as error:  # an error of any type must not stop other methods
                        print_row(*row, f'**failed**: {first_line(error)}', *[''] * 5)
                        can_all_run = False
    return can_all_run


def measure(name: str, method: Callable, shape: str, stage: int, dtype: torch.dtype,
            options: argparse.Namespace) -> list[str]:
    (batch, maps), heads, device = SHAPES[shape], HEADS[stage - 1], options.device
    height, width = maps[stage - 1]
    qkv = torch.randn(batch, height, width, 3 * heads * CHANNELS_PER_HEAD, device=device).to(dtype)
    leaves = [qkv, *window_parameters(partial(torch.randn, device=device), batch, heads, height, width)]
    leaves = [x.requires_grad_() for x in leaves]

    def forward() -> None:
        with torch.no_grad():
            method(*leaves)

    def both() -> None:
        out = method(*leaves)
        torch.autograd.grad(out, leaves, torch.ones_like(out), allow_unused=True)

    with SavedStorages(*leaves) as saved:
        out = method(*leaves)
    min_traffic = qkv.numel() * qkv.element_size() + out.numel() * out.element_size()
    del out
    alone = milliseconds(forward, options.seconds)
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    with_backward = milliseconds(both, options.seconds)
    peak = f'{torch.cuda.max_memory_allocated() / 2**20:.0f}' if device == 'cuda' else ''
    pixels = ''
    if name == 'triton':
        with torch.no_grad():
            pixels = f'{milliseconds(pixels_gradient(leaves, dtype), options.seconds)[0]:.3f}'
    spans = [f'{median:.3f} ({low:.3f}, {high:.3f})' for median, low, high in (alone, with_backward)]
    return [*spans, pixels, peak, f'{saved.num_bytes / 2**20:.2f}', f'{min_traffic / alone[0] / 1e6:.1f}']


def pixels_gradient(leaves: list[Tensor], dtype: torch.dtype) -> Callable[[], Tensor]:
    """Returns a function that launches the Triton kernel for the gradients of pixels."""
    from mmvit_backbones.ops.triton import window_sampling
    qkv, scale, offset, _ = (x.detach() for x in leaves)
    batch, heads, _, rows, columns = scale.shape
    tokens = window_sampling.stored(torch.randn(  # gradients of keys and values
        2, batch, heads, CHANNELS_PER_HEAD, rows * WINDOW, columns * WINDOW, device=qkv.device, dtype=dtype))
    return partial(window_sampling.grad_pixels, tokens, scale, offset, *qkv.shape[1:3], WINDOW, 0, 0, dtype)


def milliseconds(run: Callable, seconds: float) -> list[float]:
    """Returns the median, the 10th and the 90th percentile of a function's run time."""
    timer = Timer('run()', globals={'run': run}, num_threads=torch.get_num_threads())
    times = timer.blocked_autorange(min_run_time=seconds).times
    deciles = statistics.quantiles(times, n=10, method='inclusive') if len(times) > 1 else times
    return [1e3 * x for x in (statistics.median(times), deciles[0], deciles[-1])]


if __name__ == '__main__':
    main()
