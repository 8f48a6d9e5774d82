"""Copies a config to a new file for editing.

    mmvit config copy mask_rcnn_reswin_t             # writes all settings to ./mask_rcnn_reswin_t.py
    mmvit config copy mask_rcnn_reswin_t pets.py
"""
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..arguments import add_config_options, new_parser


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', help='config file, or the name of a config in this package')
    parser.add_argument('out', nargs='?', type=Path, help='file to write (default: ./CONFIG.py)')
    add_config_options(parser)
    return parser


def run(args: Namespace) -> None:
    from ...configs.files import copy_config
    source, path = copy_config(args.config, args.out, args.cfg_options)
    print(f'{source} -> {path}')
