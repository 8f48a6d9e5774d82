"""Counts parameters and multiply-adds of networks, at any size, without computing anything.

    python tools/analysis/get_flops.py 'vitaev2*'
    python tools/analysis/get_flops.py reswin_tiny --size 800 1333 --backbone --json

This counts convolutions and matrix products, including attention (torch.utils.flop_counter), as papers count
FLOPs, without norms, activations and sums. At the published image size, the output includes the
published figure.
"""
import argparse
import json
import math
import sys
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

from mmvit_backbones.ops.dispatch import plain_pytorch
from mmvit_backbones.zoo.build import import_mmpretrain
from mmvit_backbones.zoo.variants import VARIANTS, find_names

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common.command_line import run_script  # noqa: E402


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='+', help='names or shell patterns, see mmvit_backbones.list_models()')
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), help='default: that of the publication')
    parser.add_argument('--backbone', action='store_true', help='the bare backbone with all its maps')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    return parser


def main(args: argparse.Namespace) -> None:
    task = 'backbone' if args.backbone else 'classification'
    rows = [count(name, args.size, task) for name in find_names(args.networks)]
    print(json.dumps(rows, indent=1) if args.json else table(rows))


def count(name: str, size: tuple[int, int] | None, task: str) -> dict:
    """Returns the figures of one network; ``gmacs`` in 1e9 multiply-adds for one image."""
    variant = VARIANTS[name]
    height, width = size or (variant.img_size, variant.img_size)
    if task == 'classification':
        import_mmpretrain()
    with torch.device('meta'):
        model = MODELS.build(variant.model_config(task)).eval()
        images = torch.empty(1, 3, height, width)
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.baddbmm_: in_place_product})
    with torch.no_grad(), plain_pytorch(), counter:  # which knows nothing of kernels
        model(images)
    published = variant.published_gmacs if task == 'classification' and height == width == variant.img_size else None
    return dict(name=name, height=height, width=width, parameters=sum(p.numel() for p in model.parameters()),
                gmacs=round(counter.get_total_flops() / 2e9, 3), published_gmacs=published)


def in_place_product(base: tuple, left: tuple, right: tuple, **kwargs) -> int:
    """Returns the operations of an in-place ``addmm`` by its shapes; torch counts only those out of place."""
    return 2 * math.prod(left) * right[-1]


def table(rows: list[dict]) -> str:
    lines = [f'{"network":<24}{"size":>12}{"parameters":>14}{"GMACs":>10}{"published":>11}']
    for row in rows:
        size = f'{row["height"]}x{row["width"]}'
        published = '' if row['published_gmacs'] is None else row['published_gmacs']
        lines.append(f'{row["name"]:<24}{size:>12}{row["parameters"]:>14,}{row["gmacs"]:>10.2f}{published:>11}')
    return '\n'.join(lines)


if __name__ == '__main__':
    run_script(get_parser(), main)
