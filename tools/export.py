"""Exports a network, or a trained model with its preprocessing, and compares the file with PyTorch.

    python tools/export.py NAME [CHECKPOINT] [network.onnx]              a network: maps, or a classifier's logits
    python tools/export.py CONFIG CHECKPOINT model.onnx                  for ONNX Runtime, standard operators
    python tools/export.py CONFIG CHECKPOINT model.pt2 --format pt2      graphs of torch.export
    python tools/export.py CONFIG CHECKPOINT model.pt2 --format aoti     compiled for this machine, for Python and C++

The file of a network takes `images` (batch, 3, height, width) and returns `map0`, `map1`, ..., or `logits`. That of a
model takes `image` (height, width, 3), RGB uint8 of any size, and returns `scores` of a classifier, `segmentation`, or
`labels`, `scores`, `boxes` and `masks` in pixels of that image.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from command_line import add_config_options, add_pretrained_argument, run_script
from mmengine.registry import init_default_scope

from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.export.models import FORMATS, check_agreement, check_path, compare, export_model
from mmvit_backbones.export.networks import OPSET, compare_onnx, export_onnx
from mmvit_backbones.export.parts import Half, Parts, check_exportable, split
from mmvit_backbones.inference.load import Checkpoint, load
from mmvit_backbones.inference.predictor import find_images
from mmvit_backbones.utils.config import load_config
from mmvit_backbones.utils.images import read_rgb
from mmvit_backbones.zoo.checks import check_backbone, check_checkpoint
from mmvit_backbones.zoo.loading import TASKS

CHECKED_IMAGES = 8
TOLERANCE = 1e-3  # ResT with random weights, whose instance norm magnifies rounding; others are below 1e-5
SIZES = (224, 224), (160, 224), (75, 101)  # within what all networks take


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='config file of a model, or a name of mmvit_backbones.list_models()')
    parser.add_argument('checkpoint', nargs='?', help="its weights; a network's are random by default")
    parser.add_argument('out', type=Path, nargs='?',
                        help='file to write: .onnx, or .pt2 for the other formats (default for a network: NAME.onnx)')
    add_pretrained_argument(parser)
    parser.add_argument('--task', choices=TASKS, default='backbone',
                        help='of a network: what to write (default: %(default)s)')
    parser.add_argument('--opset', type=int, default=OPSET,
                        help='of a network: version of the ONNX standard (default: %(default)s)')
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='default: %(default)s')
    parser.add_argument('--preprocessing', choices=('inside', 'outside'), default='inside',
                        help='outside (onnx): the file takes `images` (1, 3, height, width) as the network does, and '
                             'results are in their pixels')
    parser.add_argument('--images', nargs='+', metavar='IMAGE', default=['data/coco_mini/val'],
                        help='files or folders to compare predictions on (default: %(default)s)')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--fp16', action='store_true', help='onnx: weights and the network in float16')
    precision.add_argument('--int8', metavar='FOLDER', help='onnx: quantized, calibrated on the images of a folder')
    parser.add_argument('--bound', type=float, default=0.05,
                        help='--int8: largest relative error of a layer in int8 (default: %(default)s)')
    add_config_options(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    if Path(args.model).suffix:
        export_config(args)
    else:
        export_network(args)


def export_network(args: argparse.Namespace) -> None:
    path = args.out or Path(f'{args.model}.onnx')
    try:
        check_path(path, args.format)
        model = get_model(args.model, args.task, args.checkpoint, args.pretrained or False)
        export_onnx(model, path, args.opset)
    except ValueError as error:
        raise UsageError(str(error)) from None
    onnx.checker.check_model(str(path))  # of the file: those over 1.5 GB come in several
    differences = compare_onnx(model, path, SIZES)
    tried = ', '.join(f'{height} x {width}: {value:.1e}' for (height, width), value in differences.items())
    if not max(differences.values()) <= TOLERANCE:
        raise UsageError(f'{path} differs from PyTorch by more than {TOLERANCE}: {tried}')
    print(f'{path}: {size(path):.0f} MiB; differences from PyTorch at {tried}', flush=True)


def export_config(args: argparse.Namespace) -> None:
    if not args.checkpoint or not args.out:
        raise UsageError('a config needs a checkpoint and a file to write')
    check_path(args.out, args.format)
    if args.format != 'onnx' and (args.fp16 or args.int8 or args.preprocessing == 'outside'):
        raise UsageError(f'--fp16, --int8 and --preprocessing outside are for --format onnx, got {args.format}')
    cfg = load_config(args.model, args.cfg_options, needs=('model', 'test_dataloader'))
    init_default_scope(cfg.default_scope)
    check_exportable(cfg, args.format)
    check_backbone(cfg)
    check_checkpoint(args.checkpoint)
    images = [read(path) for path in find_images(args.images)[:CHECKED_IMAGES]]
    calibration = [read(path) for path in find_images([args.int8])] if args.int8 else []
    reference = Checkpoint(cfg, args.checkpoint)
    parts = split(reference.module, cfg, args.preprocessing == 'inside')

    def write(parts: Parts) -> None:
        export_model(parts, args.out, args.format, reference.task, reference.classes, images[0])

    write(parts)
    if args.preprocessing == 'outside':
        print(f'{args.out}: {size(args.out):.1f} MiB')
        return
    expected = [reference.predict(image) for image in images]
    report(args.out, expected, images, strict=True)
    if args.fp16:
        before = size(args.out)
        write(parts._replace(network=Half(parts.network)))
    elif args.int8:
        from mmvit_backbones.export.quantize import to_int8
        before = size(args.out)
        print(to_int8(args.out, calibration, args.bound))
    else:
        return
    print(f'{before:.1f} MiB in float32')
    report(args.out, expected, images, strict=False)


def read(path: Path) -> np.ndarray:
    return np.array(read_rgb(path))


def size(path: Path) -> float:
    return sum(file.stat().st_size for file in path.parent.glob(f'{path.name}*')) / 2**20


def report(path: Path, expected: list[dict], images: list[np.ndarray], strict: bool) -> None:
    """Prints the worst figures in one line; with ``strict``, they must be within rounding."""
    model = load(path, trust_code=True)
    try:
        figures = [compare(prediction, model.predict(image)) for prediction, image in zip(expected, images)]
    except ValueError as error:  # of a size that the file does not serve
        raise UsageError(f'{path}: {error}') from error
    worst = {name: (max if name == 'scores' else min)(figure.get(name, 0. if name == 'scores' else 1.)
                                                      for figure in figures) for name in figures[0]}
    print(f'{path}: {size(path):.1f} MiB; on {len(images)} images, against PyTorch: '
          + ', '.join(f'{name} {value:.5g}' for name, value in worst.items()), flush=True)
    if strict and not check_agreement(worst):
        print(f'error: {path} does not agree with PyTorch', file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    run_script(get_parser(), main)
