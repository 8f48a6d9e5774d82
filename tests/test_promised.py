"""What docs/stability.md promises is listed in ``tests/promised``; ``make lint`` compares functions and classes."""
import re
from argparse import SUPPRESS
from collections.abc import Iterator
from hashlib import sha256
from importlib import import_module
from itertools import chain

import pytest
import torch
from helpers import ROOT, fresh_model
from mmengine import registry
from subcommands import parser_of
from tiny_configs import TINY_CONFIGS

from mmvit.cli import SUBCOMMANDS
from mmvit_backbones import get_model, list_models


def options() -> Iterator[str]:
    """Yields the options of the command with their choices; arguments without an option are in upper case."""
    for subcommand in SUBCOMMANDS:
        for action in [each for each in parser_of(subcommand)._actions if each.help != SUPPRESS]:
            for option in action.option_strings or [str(action.metavar or action.dest).upper()]:
                yield ' '.join(map(str, (subcommand, option, *(action.choices or ()))))


def keys() -> Iterator[str]:
    """Yields the keys of the networks' checkpoints after the registered name, with ``*`` for the numbers of layers."""
    with torch.device('meta'):
        variants = (get_model(name, task='backbone') for name in list_models())
        for model in chain(variants, map(fresh_model, TINY_CONFIGS)):
            network = type(model).__name__
            yield from (f'{network} {re.sub(r"[.][0-9]+(?=[.])", ".*", key)}' for key in model.state_dict())


def state_dicts() -> Iterator[str]:
    """Yields a digest of the names, shapes and order in the checkpoints of each tiny network."""
    for network in TINY_CONFIGS:
        shapes = '\n'.join(f'{name} {tuple(x.shape)}' for name, x in fresh_model(network).state_dict().items())
        yield f'{network} {sha256(shapes.encode()).hexdigest()[:16]}'


def names() -> Iterator[str]:
    """Yields the names of variants, and those that saved recipes take from MMEngine's registries."""
    yield from (f'variant {name}' for name in list_models())
    for late in ('timm_backbone', 'linear_decode_head'):  # imported when they are first used
        import_module(f'mmvit_backbones.integrations.{late}')
    for name, found in vars(registry).items():
        if isinstance(found, registry.Registry):
            yield from (f'{name} {each}' for each, cls in found.module_dict.items()
                        if cls.__module__.startswith('mmvit_backbones.'))


@pytest.mark.enumerates
@pytest.mark.parametrize('current', [options, keys, state_dicts, names])
def test_promised(current, request):
    """With ``--write-promised``, new lines are added to the lists; lines that are gone must be removed by hand."""
    file = ROOT / f'tests/promised/{current.__name__}.txt'
    listed, found = set(file.read_text().splitlines()), set(current())
    if request.config.getoption('write_promised'):
        file.write_text('\n'.join(sorted(listed | found)) + '\n')
        listed |= found
    if broken := sorted(listed - found):
        pytest.fail('\n'.join([f'promises break; if they must, remove the lines from {file}:', *broken]), pytrace=False)
    if new := sorted(found - listed):
        pytest.fail('\n'.join([f'--write-promised adds these lines to {file}:', *new]), pytrace=False)
