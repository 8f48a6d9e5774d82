"""Draws predictions on images: boxes and masks, segments, or the class; classes are also printed."""
import argparse
import sys

from command_line import add_pretrained_argument, run_script

from mmvit_backbones import accelerate
from mmvit_backbones.errors import UsageError
from mmvit_backbones.inference.predictor import Predictor, find_config, find_device, find_images, plan_drawings
from mmvit_backbones.zoo.checks import check_backbone, choose_checkpoint


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files, or folders of them')
    parser.add_argument('--config', help="config file (default: the config in a training's checkpoint)")
    parser.add_argument('--checkpoint',
                        help="checkpoint file or http(s) address; a classifier's also in its authors' layout")
    add_pretrained_argument(parser)
    parser.add_argument('--out-dir', default='predictions', help='folder for the drawings (default: %(default)s)')
    parser.add_argument('--score-thr', type=float, default=0.3,
                        help='draw objects with at least this score (default: %(default)s)')
    parser.add_argument('--device', help='e.g. cpu or cuda:1 (default: the GPU if there is one)')
    parser.add_argument('--no-accelerate', action='store_true', help='leave the modules of the model as they are')
    return parser


def main(args: argparse.Namespace) -> None:
    if not args.config and not args.checkpoint:
        raise UsageError('give --config, or the --checkpoint of a training, which contains its config')
    cfg = find_config(args.config, args.checkpoint)
    check_backbone(cfg)
    checkpoint = choose_checkpoint(cfg, args.checkpoint, args.pretrained)
    device = find_device(args.device)
    drawings = plan_drawings(find_images(args.images), args.out_dir)
    predictor = Predictor(cfg, checkpoint, device)
    if not args.no_accelerate:
        accelerate(predictor.model, inference=True)
    bad = 0
    for image, drawing in drawings.items():
        try:
            sample = predictor.predict(image)
        except UsageError as error:
            print(f'error: {str(error).splitlines()[0]}', file=sys.stderr)
            bad += 1
            continue
        predictor.draw(image, sample, drawing, args.score_thr)
        print(f'{image} -> {drawing} {predictor.describe(sample)}'.rstrip())
    if bad:
        sys.exit(1)


if __name__ == '__main__':
    run_script(get_parser(), main)
