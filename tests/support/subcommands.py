"""Runs subcommands of `mmvit` in the test's own process, to save imports."""
import importlib
from argparse import ArgumentParser

from mmvit.cli import SUBCOMMANDS


def parser_of(subcommand: str) -> ArgumentParser:
    return importlib.import_module(f'mmvit.cli.{SUBCOMMANDS[subcommand][0]}').get_parser()


def call(subcommand: str, *arguments: object) -> None:
    """Runs a subcommand. Its exceptions propagate to the test."""
    args = parser_of(subcommand).parse_args(list(map(str, arguments)))
    importlib.import_module(f'mmvit.cli.{SUBCOMMANDS[subcommand][0]}').run(args)
