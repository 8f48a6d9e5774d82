#!/usr/bin/env python3
"""Times the kernels of varied-size window attention, and compares them with other methods.

    python tools/dev/benchmark_ops.py --shapes 224 2048x2048 --dtypes bfloat16

The inputs are random and have the shapes of ViTAEv2-VSA-S's four stages. For comparison, the script also times
`grid_sample`, and Swin's shifted windows with scaled_dot_product_attention. It prints a Markdown table, and requires
torch and MMEngine. `mmvit doctor` compares the results of all kernels.
"""
import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.benchmark import Timer

from mmvit.analysis.counters import SavedStorages
from mmvit_backbones.ops import varied_size_window_attention
from mmvit_backbones.ops.dispatch import why_not_backend
from mmvit_backbones.ops.window import pad_to_multiple, shifted_window_mask, window_partition, window_reverse

WINDOW, CHANNELS_PER_HEAD = 7, 32
HEADS = (2, 4, 8, 16)
SHAPES = {  # number of images, and the size of each stage's map
    '224': (64, [(56, 56), (28, 28), (14, 14), (7, 7)]),
    '800x1333': (2, [(200, 334), (100, 167), (50, 84), (25, 42)]),
    '2048x2048': (1, [(512, 512), (256, 256), (128, 128), (64, 64)]),
    'tiny': (1, [(7, 7), (7, 7), (7, 7), (7, 7)]),
}
DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shapes', nargs='+', default=['224', '800x1333', '2048x2048'], choices=SHAPES)
    parser.add_argument('--stages', nargs='+', type=int, default=[1, 2, 3, 4], choices=[1, 2, 3, 4])
    parser.add_argument('--dtypes', nargs='+', default=['bfloat16', 'float32'], choices=DTYPES)
    parser.add_argument('--compile', action='store_true', help='also time grid_sample under torch.compile')
    parser.add_argument('--seconds', type=float, default=0.3,
                        help='minimum duration of each measurement; default: %(default)s')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--backends', nargs='+', default=['cpp', 'cuda', 'triton'], choices=['cpp', 'cuda', 'triton'],
                        help='default: all that the device supports')
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if not time_windows(options):
        sys.exit('some methods failed')


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
        reason = why_not_backend(backend, torch.empty(0, device=options.device))
        if reason is None:
            available.append(backend)
        else:
            print(f'{backend} cannot run: {reason}', flush=True)
    return available


def window_parameters(randn: Callable, batch: int, heads: int, height: int, width: int,
                      window_size: int = WINDOW) -> list[Tensor]:
    """Returns random scale, offset and biases. Their magnitudes are realistic for trained networks."""
    grid = -(-height // window_size), -(-width // window_size)
    return [0.5 * randn(batch, heads, 2, *grid), 3 * randn(batch, heads, 2, *grid),
            0.02 * randn((2 * window_size - 1)**2, heads)]


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
