"""Runs subcommands of `mmvit` in the test's own process, to save imports."""
import importlib
from argparse import ArgumentParser
from types import ModuleType

from mmvit import SUBCOMMANDS


def module_of(subcommand: str) -> ModuleType:
    return importlib.import_module(f'mmvit_backbones.cli.{SUBCOMMANDS[subcommand][0]}')


def parser_of(subcommand: str) -> ArgumentParser:
    return importlib.import_module(f'mmvit.{SUBCOMMANDS[subcommand][0]}').get_parser()


def call(subcommand: str, *arguments: object) -> None:
    """Runs a subcommand. Its exceptions propagate to the test."""
    module = importlib.import_module(f'mmvit.{SUBCOMMANDS[subcommand][0]}')
    run = getattr(module, 'run', None) or module_of(subcommand).main
    run(parser_of(subcommand).parse_args(list(map(str, arguments))))
