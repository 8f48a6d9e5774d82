"""Imports have one direction; importing the library needs few packages and changes no import hooks."""
import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT

TOOLS = ROOT / 'tools'
# A module may import from its own component and from components of earlier levels. Components are top-level folders and
# modules of the two packages.
LIBRARY_LEVELS = ['version errors', 'utils', 'ops', 'layers', 'backbones necks heads losses', 'zoo',
                  'datasets evaluation', 'engine', 'export', '', 'integrations']
COMMAND_LEVELS = ['utils', 'frameworks', 'configs', 'naming fine_tuning', 'folders', 'predictions', 'running',
                  'inference', 'deployment', 'recipes', 'drawing', 'measuring', 'comparing', '', 'cli', '__main__']
LEVELS = [[f'{package}.{name}'.rstrip('.') for name in level.split(' ')]
          for package, levels in (('mmvit_backbones', LIBRARY_LEVELS), ('mmvit', COMMAND_LEVELS)) for level in levels]
LEVEL = {component: number for number, components in enumerate(LEVELS) for component in components}
DRAWN = SimpleNamespace(**runpy.run_path(str(TOOLS / 'dev/draw_imports.py')))
MODULES, imported, component_of = DRAWN.MODULES, DRAWN.imported, DRAWN.component_of


def test_modules_import_only_from_earlier_levels():
    wrong = [f'{module} imports {other}' for module in MODULES for other in imported(module)
             if component_of(module) != component_of(other)
             and LEVEL[component_of(module)] <= LEVEL[component_of(other)]]
    assert not wrong


@pytest.mark.parametrize('folder', ['backbones', 'layers'])
def test_networks_name_no_runtime(folder):
    """What runtimes need is in ops/exportable.py, and questions about symbolic sizes are asked in ops."""
    names = r'Core ?ML|ExecuTorch|LiteRT|OpenVINO|TensorRT|ONNX|is_exporting|are_fixed|may_be_nonzero'
    assert not [(path.name, found) for path in (ROOT / 'mmvit_backbones' / folder).glob('*.py')
                if (found := re.findall(names, path.read_text(encoding='utf-8')))]


def test_no_circular_imports():
    graph = {module: imported(module) - {module} for module in MODULES}
    while leaves := [module for module, others in graph.items() if not others & graph.keys()]:
        for module in leaves:
            del graph[module]
    assert not graph


def test_the_figure_shows_the_imports():
    components = {name: DRAWN.imported_components(name) for name in map(component_of, MODULES)}
    assert DRAWN.FIGURE.read_text() == DRAWN.figure(DRAWN.arrows(components)), 'run python tools/dev/draw_imports.py'


ALLOWED = {*sys.stdlib_module_names, 'torch', 'typing_extensions', 'mmengine', 'numpy', 'yaml', 'mmvit_backbones'}


def imported_at_import(path: Path) -> set[str]:
    """Returns what a module imports when it is imported, outside of functions and of blocks for type checkers."""
    found, nodes = set(), list(ast.parse(path.read_text(encoding='utf-8')).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {name.name.partition('.')[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition('.')[0])
        elif isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test):
            nodes += node.orelse
        elif not isinstance(node, ast.FunctionDef):
            nodes += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


def test_library_imports_only_torch_and_mmengine():
    """Integrations import their library, and kernels in Triton import Triton."""
    modules = {name: path for name, path in MODULES.items() if name.startswith('mmvit_backbones')
               and not name.startswith(('mmvit_backbones.integrations', 'mmvit_backbones.ops.triton'))}
    assert not {name: others for name, path in modules.items() if (others := imported_at_import(path) - ALLOWED)}


CODE = """
import sys
import mmengine.runner
hooks, modules = [list(sys.meta_path), list(sys.path_hooks)], set(sys.modules)
import mmvit_backbones
assert hooks == [list(sys.meta_path), list(sys.path_hooks)]
print(*(name for name in sys.modules.keys() - modules if name.partition('.')[0] != 'mmvit_backbones'))
"""


def test_import_loads_only_own_modules():
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split()


def test_rooms_load_only_what_they_need():
    """Networks are measured with MMEngine and any supported PyTorch alone; a comparison leaves Matplotlib alone."""
    code = """
import sys
sys.modules.update(dict.fromkeys(('mmcv', 'mmdet', 'mmseg', 'mmpretrain')))
def loaded(*names): return [name for name in sys.modules if name.startswith(names)]
import mmvit.comparing
assert not loaded('mmvit.measuring', 'mmvit.drawing', 'matplotlib')
import mmvit.measuring
assert not loaded('mmvit.drawing', 'mmvit.deployment', 'mmvit_backbones.export', 'matplotlib')
"""
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], check=True)


def test_contributing_names_the_tests_of_every_folder():
    """The table contains every folder of the package, and all of its paths exist."""
    rows = [line.split('|')[1:3] for line in (ROOT / 'CONTRIBUTING.md').read_text().splitlines()
            if line.startswith('| `')]
    changed, tests = (set(re.findall('`(.+?)`', ' '.join(column))) for column in zip(*rows))
    assert {f'{package}/{path.parent.name}' for package in ('mmvit_backbones', 'mmvit')
            for path in (ROOT / package).glob('*/__init__.py')} <= changed
    assert tests and all(path.startswith('tests/') for path in tests)
    assert [path for path in (*changed, *tests) if not (ROOT / path).exists()] == []
