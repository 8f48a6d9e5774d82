#!/usr/bin/env python3
"""Compares the public API with its reference, ``tests/promised/api.txt``: ``make lint``.

The public API is what ``__all__`` of some packages names. It is read from the source, which is not imported, so that
neither git nor an installation is needed. griffe names what breaks callers.
"""
import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / 'tests/promised/api.txt'
PACKAGES = ('mmvit_backbones', 'mmvit_backbones.backbones', 'mmvit_backbones.export',
            'mmvit_backbones.integrations.timm_backbone', 'mmvit_backbones.ops', 'mmvit')
METHODS = dict(  # besides constructors
    Backbone=('forward', 'forward_stages'), TimmBackbone=('forward', ), Predictor=('__call__', 'stream'))


def public_api() -> str:
    """Returns the signatures of the public functions and classes as a stub file."""
    loader = griffe.GriffeLoader(search_paths=[ROOT])
    for package in 'mmvit_backbones', 'mmvit':
        loader.load(package)
    loader.resolve_aliases()
    lines = ['# Written by tools/dev/check_api.py --write.']
    for package in PACKAGES:
        module = loader.modules_collection[package]
        lines += ['', f'# {package}']
        for name in sorted(map(str, module.exports)):
            lines += stub(module[name])
    return '\n'.join(lines) + '\n'


def stub(target: griffe.Object | griffe.Alias) -> Iterator[str]:
    """Yields the lines of a function, or of a class and the settings of a network."""
    if target.is_alias:
        target = target.final_target
    if target.is_function:
        yield f'def {target.signature()}: ...'
    elif target.is_class:
        yield f'class {target.name}:'
        yield f'    {method(target, "__init__")}'
        yield from (f'    {method(target[name], name)}' for name in METHODS.get(target.name, ()))
        if settings := target.parent.members.get(f'{target.name}Arch'):
            yield from stub(settings)


def method(target: griffe.Class | griffe.Function, name: str) -> str:
    return f'def {target.signature(name=name)}: ...'.replace('(', '(self, ', 1).replace('(self, )', '(self)')


def main() -> None:
    parser = argparse.ArgumentParser(description='Compare the public API with its reference.')
    parser.add_argument('--write', action='store_true', help='write the reference, also if callers break')
    arguments = parser.parse_args()
    current, reference = public_api(), REFERENCE.read_text(encoding='utf-8') if REFERENCE.exists() else ''
    old, new = (griffe.visit('api', REFERENCE, text) for text in (reference, current))
    breakages = [each.explain() for each in griffe.find_breaking_changes(old, new)]
    print(*breakages, sep='\n')
    if arguments.write:
        REFERENCE.write_text(current, encoding='utf-8')
    elif breakages:
        sys.exit('check_api: docs/stability.md promises what breaks; if it must, run tools/dev/check_api.py --write')
    elif current != reference:
        sys.exit('check_api: new parts of the public API are not in its reference; run tools/dev/check_api.py --write')


if __name__ == '__main__':
    main()
