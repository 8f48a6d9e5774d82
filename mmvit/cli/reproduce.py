"""Tests the published weights of a network or config, and prints the published figures beside the measured ones.

    mmvit reproduce restv2_tiny                          # the classifier, on ImageNet
    mmvit reproduce configs/upernet_restv2_t.py

Short for `mmvit test CONFIG official://NAME`, whose options it has.
"""
from argparse import ArgumentParser, Namespace

from . import test
from .arguments import new_parser


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('name', help='name of a network, whose classifier is tested on ImageNet, or a config')
    return test.add_options(parser)


def run(args: Namespace) -> None:
    from mmvit_backbones.zoo.config_weights import published_checkpoint
    from mmvit_backbones.zoo.variants import VARIANTS

    from ..utils.config_files import find_config
    args.config = find_config(f'imagenet_{VARIANTS[args.name].short_name}' if args.name in VARIANTS else args.name)
    args.checkpoint = published_checkpoint(args.config)
    test.run(args)
