"""The command `mmvit`: its subcommands and their arguments, which are parsed before torch is imported.

This package is outside of `mmvit_backbones`, because importing that package imports torch, which takes seconds. A
module of a subcommand has `get_parser()`, and `run(args)`, which imports the function that does the work, calls it with
keyword arguments and prints its result.
"""
import importlib
import logging
import os
import re
import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from . import streams

SUBCOMMANDS = ('train', 'test', 'predict', 'export', 'models', 'weights download', 'weights convert', 'data check',
               'flops', 'benchmark', 'draw attention', 'compare', 'doctor')
RUNS = 'train', 'test', 'compare'  # which take hours, and write what they print to logs and files, too


def dispatch(arguments: list[str]) -> None:
    """Runs the subcommand that ``arguments`` begin with, or prints how `mmvit` is used."""
    subcommand = next((name for name in SUBCOMMANDS if arguments[:len(name.split())] == name.split()), None)
    if subcommand:
        execute(subcommand, arguments[len(subcommand.split()):])
        return
    words = [word for word in arguments[:2] if not word.startswith('-')]
    group = [name for name in SUBCOMMANDS if name.split()[:len(words)] == words]
    if not group:
        sys.exit(f'error: mmvit has no subcommand {" ".join(words)!r}; there are {", ".join(SUBCOMMANDS)}')
    print('usage: mmvit SUBCOMMAND [options]', '',
          *(f'  {name:18} {module_of(name).__doc__.splitlines()[0]}' for name in group), '',
          'Run mmvit SUBCOMMAND --help for the options and examples of a subcommand.', sep='\n')


def module_of(subcommand: str) -> Any:
    """Returns the module of a subcommand, whose docstring is its help."""
    return importlib.import_module(f'mmvit.cli.{subcommand.replace(" ", ".")}')


def execute(subcommand: str, arguments: list[str]) -> None:
    """Runs a subcommand, and prints an error of the package on one line."""
    module = module_of(subcommand)
    if subcommand in RUNS:
        streams.outlive_readers()
    parser = module.get_parser()
    parser.prog = f'mmvit {subcommand}'
    try:
        args = parser.parse_args(arguments)
        if os.path.expanduser('~') == '~':  # e.g. `docker run --user 1000` without HOME; libraries fail in many ways
            sys.exit('error: the user has no home folder; set the environment variable HOME to one that can be written')
        importlib.import_module('mmvit_backbones')
    except (ModuleNotFoundError, ValueError) as error:
        if getattr(error, 'name', '') != 'mmengine' and type(error).__name__ != 'UsageError':  # of a wrong variable
            raise
        sys.exit(f'error: {error}')
    if getattr(args, 'launcher', 'none') == 'none':  # the variables are of another program
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'):
            os.environ.pop(name, None)
    with names_errors(parser):
        module.run(args)


@contextmanager
def names_errors(parser: ArgumentParser) -> Iterator[None]:
    """Prints an error of the package on one line, in the options of a subcommand, and exits."""
    errors = importlib.import_module('mmvit_backbones.errors')
    try:
        yield
    except errors.MMViTError as error:
        text = in_options(str(error), parser)
        text = with_option(text, parser) if isinstance(error, errors.UsageError) else text
        # Each process prints its own error. An error that all processes raise is printed only by local rank 0.
        is_of_rank = isinstance(error, errors.TrainingError)
        if is_of_rank or os.environ.get('LOCAL_RANK', '0') == '0':
            rank = f'rank {os.environ["RANK"]}: ' if 'RANK' in os.environ and is_of_rank else ''
            print(f'error: {rank}{text}', file=sys.stderr, flush=True)
        sys.exit(1)
    except OSError as error:
        from mmvit_backbones.utils.file_access import FULL
        if error.errno not in FULL:
            raise
        sys.exit(f'error: {error.filename or "a file"} cannot be written: {error.strerror}')


def in_options(message: str, parser: ArgumentParser) -> str:
    """Returns a message whose ``name (--name)`` and ``name=value (--option value)`` are those of the subcommand.

    That is the option; of what the subcommand lacks, the argument.
    """
    def replace(found: re.Match) -> str:
        argument, value, option, rest = found.groups()
        if option not in parser._option_string_actions:
            return argument + value
        return option + rest if value or option == f'--{argument.replace("_", "-")}' else found[0]

    return re.sub(r'([\w.]+)(=\S+|) \((--[\w-]+)([^()]*)\)', replace, message)


def with_option(message: str, parser: ArgumentParser) -> str:
    """Returns a message that begins with the name of an argument, as the library's do, with the option that sets it."""
    name = re.match(r'\w+(?=[ =:])', message)
    option = f'--{name[0].replace("_", "-")}' if name else ''
    return option + message[len(name[0]):] if name and option in parser._option_string_actions else message


def in_console(run: Callable[[], None]) -> None:
    """Calls what a process does that a person sees."""
    logging.raiseExceptions = False  # a log on a full disk is incomplete; what else is written there ends with one line
    if not sys.warnoptions:  # warnings of other packages don't help users
        warnings.simplefilter('ignore')
        warnings.filterwarnings('default', module='mmvit_backbones')
    streams.prepare()
    try:
        run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # e.g. `mmvit models | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout at exit
        sys.exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Runs `mmvit` as a console script, with ``arguments``, by default ``sys.argv[1:]``."""
    in_console(partial(dispatch, sys.argv[1:] if arguments is None else arguments))
