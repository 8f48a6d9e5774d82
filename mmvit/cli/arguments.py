"""Command-line arguments that several subcommands share, and their types.

Modules of this package import neither torch nor MMEngine, so that help and errors are printed at once.
"""
import argparse
import importlib
import os
import os.path as osp
from collections.abc import Callable, Sequence
from typing import Any

from ..fine_tuning import FIELDS
from ..utils.limits import SEED, Limits


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """Returns a parser that keeps the line breaks of its description; options cannot be abbreviated."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that were given, i.e. are not None."""
    return {name: value for name, value in vars(args).items() if value is not None}


def given_to(function: Callable, args: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that were given, and that a function has as arguments."""
    from inspect import signature
    return {name: value for name, value in given_options(args).items() if name in signature(function).parameters}


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that training and testing share."""
    parser.add_argument('--work-dir', type=output_folder)
    add_config_options(parser)
    parser.add_argument('--verbose', action='store_true', help='show the log of a fine-tuning, too')
    several = parser.add_mutually_exclusive_group()
    several.add_argument('--processes', type=Limits(1, 1024), metavar='N',
                         help='start N processes, one per GPU, or on the CPU if there is no GPU')
    several.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    parser.add_argument('--local_rank', '--local-rank', type=Limits(0), default=0, help=argparse.SUPPRESS)
    parser.add_argument('--check', action='store_true', help='check config, data and checkpoint, then exit')
    parser.add_argument('--seed', type=SEED, help='short for --cfg-options randomness.seed=SEED')
    parser.add_argument('--data-root', metavar='FOLDER')


def output_file(path: str) -> str:
    """Checks that a file can be written, and creates its folder."""
    if not path or osp.exists(path) and not (osp.isfile(path) and os.access(path, os.W_OK)):
        raise argparse.ArgumentTypeError(f'{path!r} is not a file that can be written')
    os.makedirs(output_folder(osp.dirname(path) or '.'), exist_ok=True)
    return path


def file_ending_with(*suffixes: str) -> Callable[[str], str]:
    """Returns an argument type for :func:`output_file` with one of the suffixes, which images and checkpoints lack."""
    def parse(path: str) -> str:
        if not path.lower().endswith(suffixes):
            raise argparse.ArgumentTypeError(f'{path!r} must end with {" or ".join(suffixes)}')
        return output_file(path)

    return parse


figure_file = file_ending_with('.png', '.jpg', '.jpeg', '.webp', '.pdf', '.svg')


def output_folder(path: str) -> str:
    """Checks that a folder is writable or can be created, without creating it."""
    parent = osp.abspath(path)
    while not osp.lexists(parent):
        parent = osp.dirname(parent)
    if not path or not osp.isdir(parent) or not os.access(parent, os.W_OK):
        raise argparse.ArgumentTypeError(f'{path!r} is not a folder that can be written')
    return path


def pixel(text: str) -> tuple[int, int]:
    """Parses the position ``X,Y`` of a pixel."""
    x, y = text.split(',')
    return int(x), int(y)


class ConfigOptions(argparse.Action):
    """Parses KEY=VALUE pairs like MMEngine's ``DictAction``, but reports invalid pairs as the parser's errors."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: str | Sequence[str] | None, option_string: str | None = None) -> None:
        importlib.import_module('mmvit_backbones')  # without MMEngine, its error says how to install it
        from mmengine.config import DictAction
        try:
            DictAction(self.option_strings, self.dest)(parser, namespace, values, option_string or '')
        except Exception as error:  # MMEngine's parser fails in many ways, e.g. by endless recursion
            raise argparse.ArgumentError(
                self, f'{" ".join(values or ())!r:.99} must be KEY=VALUE pairs; a value is a number, text, True, None '
                      'or a list or tuple of these, such as KEY="[1,(2,3)]"; set dicts by their keys, KEY.NAME=VALUE, '
                      'or in the config') from error


def add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE',
                        help='override settings of the config, e.g. train_dataloader.num_workers=8; quote lists: '
                             'KEY="[1,2]"')


def add_fine_tuning_arguments(parser: Any, names: Sequence[str]) -> None:
    """Adds the options for fields of :class:`~mmvit.recipes.FineTuning`."""
    groups: dict[str, Any] = {}
    for name in names:
        about, option = FIELDS[name].metadata, f'--{name.replace("_", "-")}'
        place = parser
        if group := about.get('one_of'):
            place = groups[group] = groups.get(group) or parser.add_mutually_exclusive_group()
        if FIELDS[name].default is False:
            place.add_argument(option, *filter(None, [about.get('alias')]), action='store_const', const=True)
            continue
        several = '+' if about.get('is_several') else None
        place.add_argument(option, type=about['limits'], metavar=about.get('metavar'), nargs=several)
        if without := about.get('without'):
            place.add_argument(f'--no-{name}', dest=name, action='store_const', const=False, help=without)


def add_pretrained_argument(parser: Any) -> None:
    parser.add_argument('--pretrained', nargs='?', const=True, metavar='TAG',
                        help='use published weights, downloaded on first use; TAG selects other weights than the '
                             'default ones, e.g. 384, 22k or mask_rcnn_3x')
