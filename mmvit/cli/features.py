"""Evaluates the frozen features of a network with a k-NN classifier and a linear probe.

    mmvit features vitaev2_small --class-folder FOLDER
    mmvit features reswin_tiny CHECKPOINT --class-folder FOLDER --save features.npz
    mmvit features vitaev2_small --seg-folder FOLDER --stages 1 2 3
    mmvit features vitaev2_small --coco-folder FOLDER
"""
from argparse import ArgumentParser, Namespace

from .arguments import (
    above_zero,
    add_folder_arguments,
    add_pretrained_argument,
    add_size_argument,
    call,
    file_ending_with,
    new_parser,
    positive,
    whole,
)
from .docstrings import explanation_of, with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(f'{__doc__}\n{explanation_of("comparing.features.evaluate_features")}')
    parser.add_argument('network', metavar='NETWORK')
    parser.add_argument('checkpoint', nargs='?',
                        help="checkpoint file or http(s) URL, in the authors' layout or ours (default: the published "
                             'weights)')
    add_pretrained_argument(parser)
    add_size_argument(parser, is_square=False)
    add_folder_arguments(parser)
    parser.add_argument('--neighbors', type=positive, nargs='+', metavar='K')
    parser.add_argument('--regularization', type=above_zero, nargs='+', metavar='C')
    parser.add_argument('--stages', type=whole(0), nargs='+', metavar='N')
    parser.add_argument('--save', type=file_ending_with('.npz'), metavar='FILE.npz')
    parser.add_argument('--device')
    return with_help(parser, 'comparing.features.evaluate_features', 'recipes.folder.fine_tune')


def run(args: Namespace) -> None:
    from mmvit_backbones.errors import UsageError

    from ..comparing import evaluate_features
    if args.checkpoint and args.pretrained:
        raise UsageError(f'pass either CHECKPOINT or --pretrained, got {args.checkpoint} and {args.pretrained}')
    args.pretrained = args.checkpoint or args.pretrained
    print(call(evaluate_features, args, omit=['checkpoint']))
