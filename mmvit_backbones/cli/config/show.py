"""Prints a config with all inherited settings, after checking every `type` in it."""
import argparse
import io
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from mmengine import registry
from mmengine.registry import Registry

from ...errors import UsageError
from ...utils.config import load_config
from ...zoo.checks import check_backbone

# Types that frameworks look up in mmcv.ops instead of a registry.
UNREGISTERED = {'nms', 'soft_nms', 'RoIAlign', 'RoIPool'}


def main(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    check_backbone(cfg)
    with redirect_stdout(io.StringIO()):  # frameworks print messages when they are imported
        check_types(cfg.to_dict(), cfg.default_scope)
    if args.out:
        Path(args.out).write_text(cfg.pretty_text)
        print(f'{args.config} -> {args.out}')
    else:
        print(cfg.pretty_text, end='')


def check_types(node: dict | list | tuple, scope: str, path: str = '') -> None:
    """Raises UsageError if a `type` in the config is not registered."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        here = f'{path}.{key}' if path else str(key)
        if key == 'type' and isinstance(value, str) and not is_known(value, scope):
            raise UsageError(f'{here}: {value} is not registered in {scope}, mmengine or mmvit_backbones')
        if isinstance(value, (dict, list, tuple)):
            check_types(value, scope, here)


@cache
def is_known(name: str, scope: str) -> bool:
    own = registries_of(import_module(f'{scope}.registry'))
    return name in UNREGISTERED or any(entry.get(name) is not None for entry in [*own, *registries_of(registry)])


def registries_of(module: ModuleType) -> list[Registry]:
    return [entry for entry in vars(module).values() if isinstance(entry, Registry)]
