"""Runs subcommands of `mmvit` in the test's own process, to save imports."""
import importlib
from argparse import ArgumentParser
from types import ModuleType

from mmvit import VERBS


def module_of(verb: str) -> ModuleType:
    return importlib.import_module(f'mmvit_backbones.cli.{VERBS[verb][0]}')


def parser_of(verb: str) -> ArgumentParser:
    return importlib.import_module(f'mmvit.{VERBS[verb][0]}').get_parser()


def call(verb: str, *arguments: object) -> None:
    """Runs a subcommand. Its exceptions propagate to the test."""
    module_of(verb).main(parser_of(verb).parse_args(list(map(str, arguments))))
