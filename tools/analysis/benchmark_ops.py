#!/usr/bin/env python3
"""Times varied-size window attention against its grid_sample path and against shifted-window attention.

Random data at the four stages of ViTAEv2-VSA-S. Prints CSV: median, 10th and 90th percentile of forward and of forward
with backward in milliseconds, peak memory in MiB (GPU), bytes saved for the backward pass in MiB, and the bandwidth of
the forward pass if query, key, value and output were moved once. Needs torch alone.
"""
import argparse
import csv
import statistics
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.benchmark import Timer

from mmvit_backbones.ops import varied_size_window_attention
from mmvit_backbones.ops.window import pad_to_multiple, shifted_window_mask, window_partition, window_reverse

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common.measure import SavedStorages  # noqa: E402

WINDOW, CHANNELS_PER_HEAD = 7, 32
HEADS = (2, 4, 8, 16)
SHAPES = {  # images, and the map of each stage
    '224': (64, [(56, 56), (28, 28), (14, 14), (7, 7)]),
    '800x1333': (2, [(200, 334), (100, 167), (50, 84), (25, 42)]),
    'h200': (128, [(56, 56), (28, 28), (14, 14), (7, 7)]),
    'tiny': (1, [(14, 14), (10, 13), (14, 7), (7, 7)]),
}
FIELDS = ('shape', 'stage', 'method', 'mode', 'dtype', 'autocast', 'forward_ms', 'forward_p10', 'forward_p90',
          'both_ms', 'both_p10', 'both_p90', 'peak_mib', 'kept_mib', 'gb_per_s')


def window_parameters(batch: int, heads: int, height: int, width: int, device: str) -> list[torch.Tensor]:
    """Returns scale, offset and biases as in a trained network: windows 1.5 times as large, shifted by some pixels."""
    grid = -(-height // WINDOW), -(-width // WINDOW)
    scale = 0.5 * torch.randn(batch, heads, 2, *grid, device=device)
    offset = 3 * torch.randn(batch, heads, 2, *grid, device=device)
    return [scale, offset, 0.02 * torch.randn((2 * WINDOW - 1)**2, heads, device=device)]


def varied(backend: str):
    def method(qkv: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        heads = scale.shape[1]
        q, k, v = (x.permute(0, 3, 4, 1, 2) for x in qkv.unflatten(-1, (3, heads, -1)).unbind(3))
        out = varied_size_window_attention(q, k, v, scale, offset, bias, WINDOW, backend=backend)
        return out.permute(0, 3, 4, 1, 2).flatten(3)
    return method


def shifted(qkv: torch.Tensor, scale: torch.Tensor, offset: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Computes Swin's shifted windows by SDPA, with partition, shift and reverse; ignores offset and scale."""
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


def milliseconds(run, seconds: float) -> list[str]:
    """Returns median, 10th and 90th percentile of a run's time; short runs are timed in groups."""
    timer = Timer('run()', globals={'run': run}, num_threads=torch.get_num_threads())
    times = timer.blocked_autorange(min_run_time=seconds).times
    deciles = statistics.quantiles(times, n=10, method='inclusive') if len(times) > 1 else times
    return [f'{1e3 * x:.4f}' for x in (statistics.median(times), deciles[0], deciles[-1])]


def measure(method, leaves: list[torch.Tensor], autocast: bool, options: argparse.Namespace) -> list:
    device = options.device

    def forward():
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            return method(*leaves)

    def both():
        out = forward()
        torch.autograd.grad(out, [x for x in leaves if x.requires_grad], torch.ones_like(out), allow_unused=True)

    def forward_alone():
        with torch.no_grad():
            forward()

    with SavedStorages(*leaves) as saved:
        out = forward()
    moved = leaves[0].numel() * leaves[0].element_size() + out.numel() * out.element_size()
    del out
    alone = milliseconds(forward_alone, options.seconds)
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    with_backward = milliseconds(both, options.seconds)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == 'cuda' else 0
    return [*alone, *with_backward, f'{peak:.1f}', f'{saved.num_bytes / 2**20:.2f}',
            f'{moved / float(alone[0]) / 1e6:.1f}']


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--shapes', nargs='+', default=['224', '800x1333'], choices=SHAPES)
    parser.add_argument('--stages', nargs='+', type=int, default=[1, 2, 3, 4])
    parser.add_argument('--dtypes', nargs='+', default=['float32'], choices=('float32', 'bfloat16', 'float16'))
    parser.add_argument('--autocast', action='store_true', help='float32 also under bfloat16 autocast')
    parser.add_argument('--compile', action='store_true', help='the grid_sample path also through torch.compile')
    parser.add_argument('--seconds', type=float, default=2, help='for each figure')
    options = parser.parse_args()
    fused = {'cpu': 'cpp', 'cuda': 'cuda'}[options.device]
    methods = {'fused': (varied(fused), 'eager'), 'grid_sample': (varied('reference'), 'eager'),
               'window_attention': (shifted, 'eager')}
    if options.compile:
        methods['grid_sample_compiled'] = (torch.compile(varied('reference')), 'compiled')
    table = csv.writer(sys.stdout)
    table.writerow(FIELDS)
    for shape in options.shapes:
        batch, maps = SHAPES[shape]
        for stage in options.stages:
            (height, width), heads = maps[stage - 1], HEADS[stage - 1]
            for dtype in options.dtypes:
                for autocast in (False, True) if options.autocast and dtype == 'float32' else (False, ):
                    for name, (method, mode) in methods.items():
                        qkv = torch.randn(batch, height, width, 3 * heads * CHANNELS_PER_HEAD, device=options.device)
                        leaves = [qkv.to(getattr(torch, dtype)),
                                  *window_parameters(batch, heads, height, width, options.device)]
                        leaves = [x.requires_grad_() for x in leaves]
                        figures = measure(method, leaves, autocast, options)
                        table.writerow([shape, stage, name, mode, dtype, autocast, *figures])
                        sys.stdout.flush()


if __name__ == '__main__':
    main()
