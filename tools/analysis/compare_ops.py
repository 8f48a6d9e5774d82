#!/usr/bin/env python3
"""Compares the backends of varied-size window attention with the reference in float64, and prints a table.

    python tools/analysis/compare_ops.py                        # on CPUs: reference and cpp
    python tools/analysis/compare_ops.py --device cuda          # on a GPU: reference and cuda

Random data; 16-bit inputs are rounded first, so that only errors of the computation remain. The figures are the
largest deviation, relative to the root mean square, of the output and of the gradients of query, key and
value, of scale, offset and biases. Needs torch alone.
"""
import argparse

import torch
from benchmark_ops import CHANNELS_PER_HEAD, varied, window_parameters

from mmvit_backbones.ops import library

BATCH, HEADS, HEIGHT, WIDTH = 2, 2, 30, 37  # windows at the border are partly outside
COLUMNS = ('backend', 'dtype', 'output', 'grad q, k, v', 'grad scale', 'grad offset', 'grad biases')
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def inputs(dtype: torch.dtype, device: str) -> list[torch.Tensor]:
    """Returns packed projection, scale, offset and biases, and the gradient of the output."""
    torch.manual_seed(0)
    channels = HEADS * CHANNELS_PER_HEAD
    qkv = torch.randn(BATCH, HEIGHT, WIDTH, 3 * channels)
    grad = torch.randn(BATCH, HEIGHT, WIDTH, channels)
    positions = torch.promote_types(dtype, torch.float32)
    parameters = [x.to(positions) for x in window_parameters(BATCH, HEADS, HEIGHT, WIDTH, 'cpu')]
    return [x.to(device) for x in (qkv.to(dtype), *parameters, grad.to(dtype))]


def evaluate(backend: str, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the output and the gradients of all inputs, in float64."""
    *leaves, grad = [x.detach().requires_grad_() for x in tensors]
    out = varied(backend)(*leaves)
    return [x.double() for x in (out, *torch.autograd.grad(out, leaves, grad))]


def deviation(actual: torch.Tensor, expected: torch.Tensor) -> str:
    return f'{(actual - expected).abs().max() / expected.square().mean().sqrt():.0e}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cpu', choices=('cpu', 'cuda'))
    parser.add_argument('--library', help='operators that take the place of the C++ backend, such as the emulated CUDA '
                                          'kernels that tests/ops/emulated/run_tests.py leaves in its folder')
    options = parser.parse_args()
    if options.library:
        torch.ops.load_library(options.library)
    compiled = {'cpu': 'cpp', 'cuda': 'cuda'}[options.device]
    if library.MISSING[compiled] is not None:
        parser.error(f'the backend {compiled} is missing: {library.MISSING[compiled]}; {library.HOW_TO_BUILD}')
    print('| ' + ' | '.join(COLUMNS) + ' |')
    print('|---' * len(COLUMNS) + '|')
    for dtype in DTYPES:
        tensors = inputs(dtype, options.device)
        expected = evaluate('reference', [x.double() for x in tensors])
        for backend in ('reference', compiled):
            name = 'cuda, emulated' if options.library and backend == 'cpp' else backend
            figures = [deviation(a, e) for a, e in zip(evaluate(backend, tensors), expected)]
            print('| ' + ' | '.join([name, str(dtype).removeprefix('torch.'), *figures]) + ' |', flush=True)


if __name__ == '__main__':
    main()
