"""Copies a config to a new file for editing.

    mmvit config copy mask_rcnn_reswin_t                       # writes all settings to ./mask_rcnn_reswin_t.py
    mmvit config copy mask_rcnn_reswin_t pets.py --inherit     # inherits from the original config

A copy contains all settings. With --inherit, the new file inherits from the original config, including its later
changes, e.g. in a new version of this package.
"""
import argparse
import os
from pathlib import Path

from ...errors import UsageError
from ...utils.config import find_config, load_config
from ..arguments import add_config_options

TEMPLATE = """_base_ = {base!r}

# Override settings of the base config here, for example:
# train_dataloader = dict(batch_size=4)
# model = dict(backbone=dict(drop_path_rate=0.1))
"""


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of a config in this package')
    parser.add_argument('out', nargs='?', type=Path, help='file to write (default: ./CONFIG.py)')
    parser.add_argument('--inherit', action='store_true', help='write a config that inherits from the original')
    add_config_options(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    base = Path(find_config(args.config)).resolve()
    out = args.out or Path(f'{base.stem}.py')
    if out.suffix != '.py':
        raise UsageError(f'out must end with .py, got {out}')
    if os.path.lexists(out):
        raise UsageError(f'{out} already exists; pass another file')
    if args.inherit and args.cfg_options:
        raise UsageError('--cfg-options cannot be combined with --inherit; edit the new file instead')
    text = TEMPLATE.format(base=str(base)) if args.inherit else load_config(str(base), args.cfg_options).pretty_text
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding='utf-8')
    except OSError as error:
        raise UsageError(f'{out} cannot be written: {error.strerror}') from error
    print(f'{base} -> {out}')
