"""Prints a config with all inherited settings, after checking its backbone.

    mmvit config show configs/mask_rcnn_reswin_t.py
    mmvit config show CONFIG --cfg-options model.backbone.with_cp=True -o my_config.py

All subcommands accept the output as a config.
"""
from argparse import ArgumentParser

from ..arguments import add_config_options, new_parser, output_file


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', help='config file, or the name of a config in this package')
    add_config_options(parser)
    parser.add_argument('-o', '--out', type=output_file, help='file to write instead of printing')
    return parser
