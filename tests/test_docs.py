"""What the documentation shows is run: the examples in docstrings, and the files and commands that README.md names."""
import doctest
import importlib
import logging
import pkgutil
import re
from pathlib import Path

import pytest

import mmvit_backbones

ROOT = Path(__file__).resolve().parents[1]
MODULES = [name for _, name, _ in pkgutil.walk_packages(mmvit_backbones.__path__, 'mmvit_backbones.')]


def examples(name: str) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]


@pytest.mark.parametrize('name', MODULES)
def test_examples(name, monkeypatch):
    monkeypatch.setattr(logging.root.manager, 'disable', logging.INFO)  # such as which form of an operator runs
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples(name):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_every_backbone_has_an_example():
    from mmvit_backbones.zoo import VARIANTS
    shown = {test.name.rsplit('.', 1)[-1] for name in MODULES for test in examples(name)}
    assert {variant.backbone['type'] for variant in VARIANTS.values()} <= shown


def test_readme_names_what_is_there():
    readme = (ROOT / 'README.md').read_text()
    named = set(re.findall(r'(?:configs|tools|docs|data)/[\w/]+\.\w+', readme))
    assert named and not [path for path in named if not (ROOT / path).exists()]
    targets = re.findall(r'^make ([\w-]+)', readme, flags=re.MULTILINE)
    makefile = (ROOT / 'Makefile').read_text()
    assert targets and all(f'\n{target}:' in makefile for target in targets)
