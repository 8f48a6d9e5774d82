"""Tests a published checkpoint and compares the results with the published ones.

    mmvit reproduce restv2_tiny                          # the classifier, on ImageNet
    mmvit reproduce configs/upernet_restv2_t.py
    mmvit reproduce configs/mask_rcnn_restv2_t.py --checkpoint CHECKPOINT

"""
from argparse import ArgumentParser, Namespace

from .arguments import add_config_options, call, new_parser, output_folder
from .docstrings import explanation_of, with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(f'{__doc__}{explanation_of("analysis.reproduction.reproduce")}')
    parser.add_argument('name')
    parser.add_argument('--checkpoint')
    parser.add_argument('--data-root', metavar='FOLDER')
    parser.add_argument('--real', metavar='FILE')
    parser.add_argument('--work-dir', type=output_folder)
    add_config_options(parser)
    return with_help(parser, 'analysis.reproduction.reproduce')


def run(args: Namespace) -> None:
    from ..analysis import reproduce
    print(call(reproduce, args))
