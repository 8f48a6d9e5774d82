"""Finds all unusable files in a folder, or in a config's data sets, before training.

    mmvit data check --coco-folder data/coco_mini
    mmvit data check mask_rcnn_reswin_t --jobs 8

All annotations are read and, if those of a data set have no errors, all its images and segmentation masks. The output
has one line per error and per kind of warning; the exit code is 1 if there are errors.
"""
from argparse import ArgumentParser

from ..arguments import add_config_options, add_data_arguments, new_parser, whole


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', nargs='?',
                        help='config file, or the name of a config in this package (default: a config that fits the '
                             'custom data)')
    parser.add_argument('--splits', nargs='+', choices=('train', 'val', 'test'), default=['train', 'val'],
                        help='splits to check (default: train val)')
    parser.add_argument('--jobs', type=whole(1, 1024), default=4, help='number of processes (default: %(default)s)')
    add_data_arguments(parser)
    add_config_options(parser)
    return parser
