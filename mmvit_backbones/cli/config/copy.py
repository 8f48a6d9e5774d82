"""Copies a config to a new file for editing."""
import argparse
import os
from pathlib import Path

from ...errors import UsageError
from ...utils.config import find_config, load_config

TEMPLATE = """_base_ = {base!r}

# Override settings of the base config here, for example:
# train_dataloader = dict(batch_size=4)
# model = dict(backbone=dict(drop_path_rate=0.1))
"""


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
