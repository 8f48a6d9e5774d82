"""Exports a trained model with its preprocessing to ONNX, and compares the file with PyTorch.

    mmvit export RUN model.onnx                         the best checkpoint of a training, by its work dir
    mmvit export CHECKPOINT model.onnx
    mmvit export model.onnx --config imagenet_reswin_t --pretrained

The config of a checkpoint is the one that the training saved beside it, or --config. Inputs and outputs of the files:

- classifier: `images` (batch, height, width, 3), RGB uint8 of any size -> `scores`
- segmenter: `images` as for a classifier -> `segmentation`
- detector: `image` (height, width, 3), RGB uint8 of any size -> `labels`, `scores`, `boxes` and, if it predicts masks,
  `masks`, in pixels of the image

The metadata of the file also describe inputs and outputs.
"""
from argparse import ArgumentParser, Namespace

from .arguments import add_config_options, add_pretrained_argument, given_to, new_parser
from .docstrings import with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('model', nargs='?', metavar='CHECKPOINT', help='a checkpoint, or the work dir of a training')
    parser.add_argument('path', metavar='FILE')
    add_pretrained_argument(parser)
    parser.add_argument('--allow-accuracy-drop', action='store_true')
    parser.add_argument('--config')
    parser.add_argument('--images', nargs='+', default=(), metavar='IMAGE')
    add_config_options(parser)
    return with_help(parser, 'deployment.exporting.export_model')


def run(args: Namespace) -> None:
    from ..deployment import export_model
    print(export_model(**{'model': None, **given_to(export_model, args)}))
