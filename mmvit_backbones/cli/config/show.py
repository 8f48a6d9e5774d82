"""Prints a config with all inherited settings."""
import argparse
from pathlib import Path

from ...utils.config import load_config
from ...zoo.checks import check_backbone


def main(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    check_backbone(cfg)
    if args.out:
        Path(args.out).write_text(cfg.pretty_text)
        print(f'{args.config} -> {args.out}')
    else:
        print(cfg.pretty_text, end='')
