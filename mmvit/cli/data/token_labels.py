"""Generates token labels for the images in a folder: the classes that a classifier predicts at each position.

    mmvit data token-labels IMAGES OUT timm:dm_nfnet_f6 --size 576
    mmvit data token-labels IMAGES OUT imagenet_vitaev2_b --checkpoint official://vitaev2_base
    mmvit data token-labels IMAGES OUT configs/mine.py --checkpoint work_dirs/mine/epoch_300.pth

The classifier's head is applied to each position instead of to the pooled map. If the command is run again, it writes
only missing files.
"""
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..arguments import add_size_argument, call, new_parser, output_folder, positive
from ..docstrings import explanation_of, with_help


def get_parser() -> ArgumentParser:
    parser = new_parser(f'{__doc__}\n{explanation_of("inference.token_labels.write_token_labels")}')
    parser.add_argument('images', type=Path)
    parser.add_argument('out', type=output_folder)
    parser.add_argument('model')
    parser.add_argument('--checkpoint')
    add_size_argument(parser, default=[224, 224])
    parser.add_argument('--batch-size', type=positive, default=16)
    parser.add_argument('--device')
    return with_help(parser, 'inference.token_labels.write_token_labels')


def run(args: Namespace) -> None:
    from ...inference.token_labels import write_token_labels
    for line in call(write_token_labels, args):
        print(line, flush=True)
