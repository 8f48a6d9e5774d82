"""Runs a model on images and folders, and writes drawings and machine-readable results.

    mmvit predict SOURCE... --checkpoint epoch_12.pth                # writes drawings; prints a classifier's classes
    mmvit predict SOURCE... --config imagenet_reswin_t --pretrained  # uses the authors' weights
    mmvit predict SOURCE... --checkpoint model.onnx --json           # also writes COCO results, label images or CSV
    mmvit predict SOURCE... --checkpoint model.onnx --runtime openvino

If an image cannot be read, an error line is printed, the other images are still processed, and the exit code is 1. A
file or folder that does not exist ends the command before the first image.
"""
import sys
from argparse import ArgumentParser, Namespace

from ..utils.limits import COUNT, Limits
from .arguments import add_pretrained_argument, new_parser, output_folder
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('sources', nargs='+', metavar='SOURCE',
                        help='images or folders (searched recursively)')
    parser.add_argument('--config')
    parser.add_argument('--checkpoint', help='work dir of a training, for its best checkpoint; a file or http(s) URL '
                                             "(classifiers: also in the authors' layout); or a file written by mmvit "
                                             'export')
    add_pretrained_argument(parser)
    parser.add_argument('--out-dir', type=output_folder, default='predictions')
    parser.add_argument('--json', action='store_true',
                        help='also write results.json (detectors: COCO results, where image_id counts all '
                             'images of this command from 1, and file_name tells them) and annotations.json (for '
                             'labelling tools), labels/ (segmenters: label images with a palette, and classes.txt), or '
                             'results.csv (classifiers: the five best classes)')
    parser.add_argument('--score-thr', type=Limits(0, 1, is_whole=False))
    parser.add_argument('--batch-size', type=COUNT, default=1)
    parser.add_argument('--device')
    parser.add_argument('--runtime', choices=('onnxruntime', 'openvino'))
    return with_help(parser, 'inference.predictor.Predictor', 'inference.outputs.write_predictions')


def run(args: Namespace) -> None:
    from rich.progress import track

    from mmvit_backbones.errors import UsageError

    from ..inference import Predictor
    from ..inference.outputs import find_sources, write_predictions
    from ..utils.shell import console_of
    if not args.config and not args.checkpoint:
        raise UsageError('pass --checkpoint, or --config with --pretrained')
    names = find_sources(args.sources)
    source, config = (args.checkpoint, args.config) if args.checkpoint else (args.config, None)
    predictor = Predictor(source, config, pretrained=args.pretrained, device=args.device, runtime=args.runtime)
    written = write_predictions(predictor, names, args.out_dir, args.json, args.batch_size, args.score_thr,
                                reads=[args.checkpoint, args.config])
    predicted, failed = 0, 0
    console = console_of(sys.stderr)
    for each in track(written, 'predicting', len(names), console=console, disable=not console.is_terminal):
        predicted, failed = predicted + (each.error is None), failed + (each.error is not None)
        print(each, file=sys.stderr if each.error else sys.stdout)
    print(f'{predicted} predicted, {failed} failed')
    if failed:
        sys.exit(1)
