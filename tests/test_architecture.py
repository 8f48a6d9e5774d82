"""Imports inside the package have one direction; importing it needs few packages and changes no import hooks."""
import re
import runpy
import subprocess
import sys
from types import SimpleNamespace

import pytest
from helpers import ROOT

PACKAGE, TOOLS = ROOT / 'mmvit_backbones', ROOT / 'tools'
# A module may import from its own component and from components of earlier levels. Components are top-level folders and
# modules.
LEVELS = [
    ['version', 'errors'],
    ['utils'],
    ['ops'],
    ['layers'],
    ['backbones', 'necks', 'heads', 'losses'],
    ['zoo'],
    ['data'],
    ['training', 'inference'],
    ['export'],
    ['integrations'],
    ['recipes'],
    [''],  # the package itself
    ['analysis'],
    ['__main__'],
]
LEVEL = {component: number for number, components in enumerate(LEVELS) for component in components}
DRAWN = SimpleNamespace(**runpy.run_path(str(TOOLS / 'dev/draw_imports.py')))
MODULES, imported, component_of = DRAWN.MODULES, DRAWN.imported, DRAWN.component_of


def test_modules_import_only_from_earlier_levels():
    wrong = [f'{module} imports {other}' for module in MODULES for other in imported(module)
             if component_of(module) != component_of(other)
             and LEVEL[component_of(module)] <= LEVEL[component_of(other)]]
    assert not wrong


def test_no_circular_imports():
    graph = {module: imported(module) - {module} for module in MODULES}
    while leaves := [module for module, others in graph.items() if not others & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph


def test_the_figure_shows_the_imports():
    components = {name: DRAWN.imported_components(name) for name in map(component_of, MODULES)}
    assert DRAWN.FIGURE.read_text() == DRAWN.figure(DRAWN.arrows(components)), 'run python tools/dev/draw_imports.py'


def test_the_figure_omits_arrows_that_others_imply():
    graph = DRAWN.arrows(dict(mmvit={'zoo', 'ops'}, zoo={'backbones'}, backbones={'ops'}, ops=set()))
    assert set(graph.edges) == {('mmvit', 'zoo'), ('zoo', 'backbones'), ('backbones', 'ops')}


def test_names_on_page_exist():
    """Files and functions named in docs/architecture.md exist."""
    page = (ROOT / 'docs/architecture.md').read_text()
    named = re.findall(r'`((?:mmvit_backbones|tools|configs|docs|tests)[\w/.]*)`', page)
    linked = [f'docs/{path}' for path in re.findall(r'\]\((\S+?)\)', page)]
    assert not [name for name in (*named, *linked) if not (ROOT / name).exists()]
    code = '\n'.join(path.read_text() for path in (*MODULES.values(), *TOOLS.rglob('*.py')))
    functions = re.findall(r'`([a-z]+(?:_[a-z]+)+|forward|fetch)`', page)
    assert not [name for name in functions if f'def {name}(' not in code and name not in ('out_indices', 'init_cfg')]


CODE = """
import sys
import torch, mmengine.model
hooks, modules = [list(sys.meta_path), list(sys.path_hooks)], set(sys.modules)
import mmvit_backbones
assert hooks == [list(sys.meta_path), list(sys.path_hooks)]
print(*{name.split('.')[0] for name in sys.modules.keys() - modules})
"""


@pytest.mark.slow
def test_import_requires_only_torch_and_mmengine():
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    others = {'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm', 'transformers', 'torchvision', 'gdown', 'matplotlib'}
    assert not others & set(done.stdout.split())


def test_contributing_names_the_tests_of_every_folder():
    """The table contains every folder of the package, and all of its paths exist."""
    rows = [line.split('|')[1:3] for line in (ROOT / 'CONTRIBUTING.md').read_text().splitlines()
            if line.startswith('| `')]
    changed, tests = (set(re.findall('`(.+?)`', ' '.join(column))) for column in zip(*rows))
    assert {f'mmvit_backbones/{path.parent.name}' for path in PACKAGE.glob('*/__init__.py')} <= changed
    assert tests and all(path.startswith('tests/') for path in tests)
    assert [path for path in (*changed, *tests) if not (ROOT / path).exists()] == []
