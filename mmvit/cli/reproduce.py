"""Tests a published checkpoint and compares the results with the published ones.

    mmvit reproduce restv2_tiny                          # the classifier, on ImageNet
    mmvit reproduce configs/upernet_restv2_t.py
    mmvit reproduce configs/mask_rcnn_restv2_t.py --checkpoint CHECKPOINT

The authors' checkpoint is downloaded if it is not cached (docs/zoo.md). Results published for several scales and flips
are reproduced with test-time augmentation. ReaL accuracy is measured if data/imagenet/real.json exists.
"""
from argparse import ArgumentParser, Namespace

from .arguments import add_config_options, call, new_parser, output_folder


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('name', help='name of a network (mmvit models lists them), or a config')
    parser.add_argument('--checkpoint', help="checkpoint file or http(s) URL, in the authors' layout or ours "
                                             '(default: the published checkpoint)')
    parser.add_argument('--data-root', metavar='FOLDER', help="folder of the config's data set")
    parser.add_argument('--real', metavar='FILE',
                        help="file with ImageNet's reassessed labels, ReaL (default: data/imagenet/real.json)")
    parser.add_argument('--work-dir', type=output_folder, help='folder for logs (default: work_dirs/CONFIG NAME)')
    add_config_options(parser)
    return parser


def run(args: Namespace) -> None:
    from ..analysis import reproduce
    print(call(reproduce, args))
