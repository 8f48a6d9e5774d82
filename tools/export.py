"""Exports a network, or a trained model with its preprocessing, and compares the file with PyTorch.

    python tools/export.py NAME [CHECKPOINT] [network.onnx]              a network: maps, or a classifier's logits
    python tools/export.py CONFIG CHECKPOINT model.onnx                  for ONNX Runtime, standard operators
    python tools/export.py CONFIG CHECKPOINT model.pt2 --format pt2      graphs of torch.export
    python tools/export.py CONFIG CHECKPOINT model.pt2 --format aoti     compiled for this machine, for Python and C++

The file of a network takes `images` (batch, 3, height, width) and returns `map0`, `map1`, ..., or `logits`. That of a
classifier or a segmenter takes `images` (batch, height, width, 3), RGB uint8 of any size, and returns `scores` or
`segmentation`; that of a detector takes one `image` (height, width, 3) and returns `labels`, `scores`, `boxes` and
`masks` in pixels of that image. What a file takes and returns is also written into it and into FILE.json.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from common.command_line import add_config_options, add_pretrained_argument, run_script
from common.data_checks import check_data
from common.weights import check_checkpoint
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.export import compare_onnx, export_model, export_onnx
from mmvit_backbones.export.compare import CALIBRATED, EXACT, LOSSY, below_limits, compare, worst
from mmvit_backbones.export.graphs import OPSET
from mmvit_backbones.export.models import FORMATS, check_path
from mmvit_backbones.export.parts import Half, check_exportable, split
from mmvit_backbones.inference import Predictor
from mmvit_backbones.inference.runtimes import Arrays, Checkpoint
from mmvit_backbones.inference.sources import find_images
from mmvit_backbones.utils.config import datasets_of, load_config
from mmvit_backbones.utils.images import read_rgb
from mmvit_backbones.zoo.checks import check_backbone
from mmvit_backbones.zoo.loading import TASKS

CHECKED_IMAGES = 8
CALIBRATION_IMAGES = 32
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
                        help='outside (onnx): the file takes `images` (batch, 3, height, width) as the network '
                             'does, and results are in their pixels')
    parser.add_argument('--images', nargs='+', metavar='IMAGE',
                        help=f'files or folders to compare {CHECKED_IMAGES} predictions on (default: those of the '
                             "config's test set)")
    parser.add_argument('--accept-loss', action='store_true', help='keep a file that is less accurate than the limits')
    parser.add_argument('--license', default='not stated', help='of the weights, for the details of the file')
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument('--fp16', action='store_true', help='onnx: weights and the network in float16')
    precision.add_argument('--int8', metavar='FOLDER', help='onnx: quantized, calibrated on the images of a folder')
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
    if not args.images:
        check_data(cfg, ['test'], content=False)
    images = read(find_images(args.images) if args.images else test_images(cfg), CHECKED_IMAGES)
    calibration = read(find_images([args.int8]), CALIBRATION_IMAGES) if args.int8 else []
    reference = Checkpoint(cfg, args.checkpoint)
    parts = split(reference.module, cfg, args.preprocessing == 'inside')
    details = dict(reference.details, license=args.license, precision='float16' if args.fp16 else 'float32')
    export_model(parts, args.out, args.format, details, images[0])
    if args.preprocessing == 'outside':
        print(f'{args.out}: {size(args.out):.1f} MiB')
        return
    expected = reference.run(images)
    check(args, expected, images, EXACT)
    if args.fp16:
        export_model(parts._replace(network=Half(parts.network)), args.out, args.format, details, images[0])
    elif args.int8:
        from mmvit_backbones.export.quantize import to_int8
        floats = Predictor(args.out).model.run(calibration[:CHECKED_IMAGES])
        samples = [image if parts.takes == 'image' else image[None] for image in calibration]
        print(to_int8(args.out, samples, parts.takes,
                      lambda path: not below_limits(compared(path, floats, calibration, LOSSY), CALIBRATED)))
    if args.fp16 or args.int8:
        check(args, expected, images, LOSSY)


def test_images(cfg: Config) -> list[str]:
    dataset = DATASETS.build(dict(datasets_of(cfg, 'test')[0], pipeline=[]))
    return [dataset.get_data_info(number)['img_path'] for number in range(min(CHECKED_IMAGES, len(dataset)))]


def read(paths: list, count: int) -> list[np.ndarray]:
    """Reads at most so many images, from all over the list."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
    return [np.array(read_rgb(paths[number])) for number in chosen]


def size(path: Path) -> float:
    return sum(file.stat().st_size for file in (path, Path(f'{path}.data')) if file.exists()) / 2**20


def compared(path: str | Path, expected: list[Arrays], images: list[np.ndarray], limits: dict) -> dict[str, float]:
    actual = Predictor(path, trust_code=True).model.run(images[:len(expected)])
    return worst([compare(*pair, limits) for pair in zip(expected, actual)])


def check(args: argparse.Namespace, expected: list[Arrays], images: list[np.ndarray], limits: dict) -> None:
    """Prints the figures and their limits; removes a file that is beyond them and exits, unless it is accepted."""
    figures = compared(args.out, expected, images, limits)
    print(f'{args.out}: {size(args.out):.1f} MiB; on {len(images)} images, against PyTorch: '
          + ', '.join(f'{name} {value:.5g} (limit {limits[name]:g})' for name, value in figures.items()), flush=True)
    if not args.accept_loss and (beyond := below_limits(figures, limits)):
        args.out.unlink()
        print(f'error: {args.out} is removed, as {", ".join(beyond)} are beyond the limit; --accept-loss keeps it',
              file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    run_script(get_parser(), main)
