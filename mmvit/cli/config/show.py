"""Prints a config with all inherited settings, after checking its backbone.

    mmvit config show configs/mask_rcnn_reswin_t.py
    mmvit config show CONFIG --cfg-options model.backbone.with_cp=True
"""
from argparse import ArgumentParser, Namespace

from ..arguments import add_config_options, new_parser


def get_parser() -> ArgumentParser:
    parser = new_parser(__doc__)
    parser.add_argument('config', help='config file, or the name of a config in this package')
    add_config_options(parser)
    return parser


def run(args: Namespace) -> None:
    from ...configs.backbone import build_on_meta
    from ...configs.files import read_config
    cfg = read_config(args.config, options=args.cfg_options)
    build_on_meta(cfg)
    print(cfg.pretty_text, end='')
