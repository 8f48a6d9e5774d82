"""Exports networks as ONNX files for images of all sizes, and compares them with PyTorch by ONNX Runtime.

    python tools/export_onnx.py reswin_tiny --checkpoint CHECKPOINT
    python tools/export_onnx.py 'rest*' --task classification --out folder

A file takes `images` (batch, 3, height, width) and returns `map0`, `map1`, ..., or `logits`. If an element differs from
PyTorch's by more than 1e-3 of the largest, at any of the tested sizes, this is an error.
"""
import argparse
from pathlib import Path

import onnx

from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.export.networks import OPSET, compare_onnx, export_onnx
from mmvit_backbones.utils.scripts import add_pretrained_argument, run_script
from mmvit_backbones.zoo.loading import TASKS
from mmvit_backbones.zoo.variants import find_names

TOLERANCE = 1e-3  # ResT with random weights, whose instance norm magnifies rounding; others are below 1e-5
SIZES = (224, 224), (160, 224), (75, 101)  # within what all networks take


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='+', help='names or shell patterns, see mmvit_backbones.list_models()')
    parser.add_argument('--checkpoint', help="the authors' weights or ours (default: random weights)")
    add_pretrained_argument(parser)
    parser.add_argument('--task', choices=TASKS, default='backbone', help='what to write (default: %(default)s)')
    parser.add_argument('--opset', type=int, default=OPSET, help='version of the standard (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=Path('.'), help='folder to write NAME.onnx to (default: here)')
    return parser


def main(args: argparse.Namespace) -> None:
    names = find_names(args.networks)
    if args.checkpoint and len(names) > 1:
        raise UsageError(f'--checkpoint is for one network, got {names}')
    args.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = args.out / f'{name}.onnx'
        try:
            model = get_model(name, args.task, args.checkpoint, args.pretrained or False)
            export_onnx(model, path, args.opset)
        except ValueError as error:
            raise UsageError(str(error)) from None
        onnx.checker.check_model(str(path))  # of the file, as those over 1.5 GB come in several
        differences = compare_onnx(model, path, SIZES)
        tried = ', '.join(f'{height} x {width}: {value:.1e}' for (height, width), value in differences.items())
        if not max(differences.values()) <= TOLERANCE:
            raise UsageError(f'{path} differs from PyTorch by more than {TOLERANCE}: {tried}')
        size = sum(file.stat().st_size for file in path.parent.glob(f'{path.name}*'))
        print(f'{path}: {size / 2**20:.0f} MiB; differences from PyTorch at {tried}', flush=True)


if __name__ == '__main__':
    run_script(get_parser(), main)
