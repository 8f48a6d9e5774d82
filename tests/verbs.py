"""Runs subcommands of `mmvit` in the test's own process, to save imports."""
import importlib
from types import ModuleType

from mmvit import VERBS


def module_of(verb: str) -> ModuleType:
    return importlib.import_module(f'mmvit_backbones.cli.{VERBS[verb][0]}')


def call(verb: str, *arguments: object) -> None:
    """Runs a subcommand. Its exceptions propagate to the test."""
    module = module_of(verb)
    module.main(module.get_parser().parse_args(list(map(str, arguments))))
