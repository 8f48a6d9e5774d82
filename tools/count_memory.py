"""Peak memory of networks at any size, counted without computing anything.

    python tools/count_memory.py remvitv2_tiny --size 800 1344 --batch-size 2
    python tools/count_memory.py remvitv2_tiny --size 800 1344 --with-cp --dtype bfloat16

Runs the backbone on PyTorch's meta device and counts the bytes of all tensors that live at the same time: in
evaluation (`inference`), and in a training step (`training`: forward, mean of squares, backward; `saved` is what is
left after its forward pass). Counted are activations and gradients, not parameters, nor what libraries take inside of
one operation. The output is JSON, in bytes, by network.
"""
import argparse
import json

import torch
from mmengine.registry import MODELS

from mmvit_backbones.cli.config import find_names
from mmvit_backbones.cli.launch import run_script
from mmvit_backbones.measure import count_memory
from mmvit_backbones.zoo import VARIANTS


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='+', help='names or shell patterns, see mmvit_backbones.list_models()')
    parser.add_argument('--size', type=int, nargs=2, default=(800, 1333), metavar=('H', 'W'), help='default: 800 1333')
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32',
                        help='of weights and activations')
    parser.add_argument('--with-cp', action='store_true', help='recompute blocks in the backward pass')
    return parser


def main(args: argparse.Namespace) -> None:
    figures = {}
    for name in find_names(args.networks):
        with torch.device('meta'):
            images = torch.empty(args.batch_size, 3, *args.size, dtype=getattr(torch, args.dtype))
            model = MODELS.build(VARIANTS[name].model_config('backbone', with_cp=args.with_cp)).to(images.dtype)
        figures[name] = count_memory(model, images)
    print(json.dumps(figures, indent=1))


if __name__ == '__main__':
    run_script(get_parser(), main)
