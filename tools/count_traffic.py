"""Count the kernels that networks launch and the bytes that they move, next to the authors' code.

    python tools/count_traffic.py reswin_tiny 'rest*'

Counted, not timed, on the meta device without a GPU: each operator that is no view is one kernel. The authors'
figures (batch 64, 224 x 224, bfloat16) were counted in the same way on their implementations.
"""
import argparse
import json
import sys

import torch

import mmvit_backbones
from mmvit_backbones.cli.config import UsageError, find_names
from mmvit_backbones.measure import count_traffic

# Kernels and GB of the authors' implementations: batch 64, 224 x 224, bfloat16, counted in the same way.
AUTHORS_TRAFFIC = {
    'reswin_tiny': dict(forward=dict(kernels=333, gb=14.41), step=dict(kernels=815, gb=38.13)),
    'remvitv2_tiny': dict(forward=dict(kernels=592, gb=20.24), step=dict(kernels=1255, gb=59.45)),
    'revit_base': dict(forward=dict(kernels=254, gb=18.79), step=dict(kernels=740, gb=60.11)),
    'rest_lite': dict(forward=dict(kernels=189, gb=5.4), step=dict(kernels=532, gb=15.3)),
    'rest_small': dict(forward=dict(kernels=277, gb=6.68), step=dict(kernels=768, gb=18.95)),
    'rest_base': dict(forward=dict(kernels=277, gb=9.64), step=dict(kernels=768, gb=27.48)),
    'restv2_tiny': dict(forward=dict(kernels=286, gb=8.98), step=dict(kernels=765, gb=24.46)),
    'restv2_small': dict(forward=dict(kernels=430, gb=12.09), step=dict(kernels=1143, gb=32.92)),
    'regionvit_tiny': dict(forward=dict(kernels=567, gb=10.78), step=dict(kernels=1755, gb=37.12)),
    'regionvit_small': dict(forward=dict(kernels=567, gb=16.16), step=dict(kernels=1755, gb=55.7)),
    'vitae_tiny': dict(forward=dict(kernels=316, gb=8.76), step=dict(kernels=850, gb=24.01)),
    'vitaev2_small': dict(forward=dict(kernels=517, gb=17.75), step=dict(kernels=1381, gb=51.36)),
    'vitaev2_vsa_small': dict(forward=dict(kernels=929, gb=23.69), step=dict(kernels=2460, gb=63.87)),
    'vitae_base': dict(forward=dict(kernels=306, gb=23.62), step=dict(kernels=878, gb=71.88)),
    'refiner_vit_small_plain': dict(forward=dict(kernels=444, gb=39.85), step=dict(kernels=1169, gb=107.23)),
}
DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16, float32=torch.float32)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='+', help='names or shell patterns, see mmvit_backbones.list_models()')
    parser.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'), help='default: 224 224')
    parser.add_argument('--batch-size', type=int, default=64, help='default: %(default)s')
    parser.add_argument('--dtype', choices=DTYPES, default='bfloat16', help='default: %(default)s')
    parser.add_argument('--json', action='store_true', help='print JSON')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    shape = (args.batch_size, 3, *args.size)
    is_comparable = (shape, args.dtype) == ((64, 3, 224, 224), 'bfloat16')
    result = {}
    for name in find_names(args.networks):
        counted = count_traffic(mmvit_backbones.get_model(name), shape, DTYPES[args.dtype])
        authors = AUTHORS_TRAFFIC.get(name) if is_comparable else None
        result[name] = dict(ours=counted, authors=authors)
        if not args.json:
            print(describe(name, counted, authors), flush=True)
    if args.json:
        print(json.dumps(result, indent=1))


def describe(name: str, counted: dict, authors: dict | None) -> str:
    lines = []
    for what, ours in counted.items():
        line = f'{name:26} {what:8} {ours["kernels"]:5} kernels {ours["gb"]:7.2f} GB'
        if authors:
            theirs = authors[what]
            line += f'   authors {theirs["kernels"]:5} {theirs["gb"]:7.2f}   ratio ' \
                    f'{ours["kernels"] / theirs["kernels"]:.2f} {ours["gb"] / theirs["gb"]:.2f}'
        lines.append(line)
    return '\n'.join(lines)


if __name__ == '__main__':
    try:
        main()
    except UsageError as error:
        sys.exit(f'error: {error}')
