"""Imports of the package point one way, and importing it changes nothing outside of MMEngine's registries."""
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT, raises

PACKAGE, TOOLS = ROOT / 'mmvit_backbones', ROOT / 'tools'
# From the ground up. A module imports from its own room and from floors below its own.
FLOORS = [
    ['version', 'errors'],
    ['utils'],
    ['ops'],
    ['layers'],
    ['backbones', 'necks', 'heads', 'losses'],
    ['accelerate'],
    ['zoo'],
    ['data'],
    ['training', 'inference'],
    ['export'],
    ['integrations'],
    [''],  # the package itself
    ['cli'],
    ['__main__'],
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
TESTS = SimpleNamespace(**runpy.run_path(str(TOOLS / 'dev/tests_of.py')))
DRAWN = SimpleNamespace(**runpy.run_path(str(TOOLS / 'dev/draw_imports.py')))
MODULES, imported, room = DRAWN.MODULES, DRAWN.imported, DRAWN.component_of


def test_imports_point_down():
    wrong = [f'{module} imports {other}' for module in MODULES for other in imported(module)
             if room(module) != room(other) and FLOOR[room(module)] <= FLOOR[room(other)]]
    assert not wrong


def test_no_module_imports_itself_through_others():
    graph = {module: imported(module) - {module} for module in MODULES}
    while leaves := [module for module, others in graph.items() if not others & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph


def test_page_draws_the_imports():
    assert DRAWN.PAGE.read_text() == DRAWN.page(), 'run python tools/dev/draw_imports.py'


def test_picture_leaves_out_what_other_arrows_imply():
    imports = dict(cli={'zoo', 'ops'}, zoo={'backbones'}, backbones={'ops'}, ops=set())
    assert DRAWN.reached(imports, 'cli') == {'zoo', 'backbones', 'ops'}
    assert 'cli["cli/"] --> export["export/"]' in DRAWN.flowchart()
    assert 'cli["cli/"] --> ops' not in DRAWN.flowchart()


def test_page_names_what_is_there():
    """Files and functions of docs/architecture.md; each function is defined in the package or the tools."""
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
def test_import_needs_torch_and_mmengine_alone():
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    others = {'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm', 'transformers', 'torchvision', 'gdown', 'matplotlib'}
    assert not others & set(done.stdout.split())


def test_contributing_names_the_tests_of_every_room():
    """Every folder of the package is in the table, and what it names exists."""
    rows = TESTS.table()
    named = [path for row in rows for cell in row for path in cell]
    rooms = {f'mmvit_backbones/{path.name}' for path in PACKAGE.iterdir() if (path / '__init__.py').exists()}
    assert rooms <= set(named)
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert all(tests and all(path.startswith('tests/') for path in tests) for _, tests in rows)


def test_a_file_has_the_tests_of_the_nearest_folder():
    in_layers = TESTS.tests_of(Path('mmvit_backbones/layers/attention.py'))
    assert 'tests/layers' in in_layers and 'tests/test_contract.py' in in_layers
    assert TESTS.tests_of(Path('mmvit_backbones/ops/triton/launch.py')) == TESTS.tests_of(Path('mmvit_backbones/ops'))
    assert TESTS.tests_of(Path('tests/zoo/test_files.py')) == ['tests/zoo/test_files.py']
    with raises(LookupError, 'NOTICE', 'mmvit_backbones/layers'):
        TESTS.tests_of(Path('NOTICE'))
