"""Runs subcommands of `mmvit` in the test's own process, to save imports."""
from argparse import ArgumentParser

from mmvit.cli import module_of


def parser_of(subcommand: str) -> ArgumentParser:
    return module_of(subcommand).get_parser()


def call(subcommand: str, *arguments: object) -> None:
    """Runs a subcommand. Its exceptions propagate to the test."""
    args = parser_of(subcommand).parse_args(list(map(str, arguments)))
    module_of(subcommand).run(args)
