"""A network added as described in docs/adding_a_network.md passes the page's own commands, and lint."""
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import ROOT

PAGE = (ROOT / 'docs/adding_a_network.md').read_text()
BLOCKS = re.findall(r'^```([^\n]*)\n(.*?)^```$', PAGE, flags=re.MULTILINE | re.DOTALL)
FILES = {re.findall('title="(.+)"', info)[0]: text for info, text in BLOCKS if info}
COMMANDS = ''.join(text for info, text in BLOCKS if not info)
pytestmark = [pytest.mark.slow, pytest.mark.workflow]
AUTHORS = """
import torch
from torch import nn

DEPTHS, WIDTHS = (1, 1, 2, 1), (32, 64, 128, 256)


class Norm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mlp = nn.ModuleDict(dict(fc1=nn.Linear(width, 4 * width), fc2=nn.Linear(4 * width, width)))

    def forward(self, x):
        x = x + self.conv(self.norm1(x))
        hidden = nn.functional.gelu(self.mlp['fc1'](self.norm2(x).movedim(1, -1)))
        return x + self.mlp['fc2'](hidden).movedim(-1, 1)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        sides, before = (4, 2, 2, 2), (3, *WIDTHS)
        self.down = nn.ModuleList(nn.Conv2d(before[i], WIDTHS[i], side, side) for i, side in enumerate(sides))
        self.layers = nn.ModuleList(
            nn.Sequential(*(Layer(width) for _ in range(depth))) for depth, width in zip(DEPTHS, WIDTHS))
        self.norm, self.head = Norm(WIDTHS[-1]), nn.Linear(WIDTHS[-1], 1000)

    def forward(self, x):
        for down, layer in zip(self.down, self.layers):
            x = layer(down(x))
        return self.head(self.norm(x).mean((2, 3)))


patch_mixer = Network
"""


def add_network(tree: Path) -> None:
    """Copies the repository, and adds the files that the page shows, and the code of the authors."""
    for name in ('mmvit', 'mmvit_backbones', 'tests', 'tools', 'configs', 'docs', 'data'):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns('__pycache__', 'csrc'))
    for name in ('README.md', 'NOTICE', 'mkdocs.yml', 'model-index.yml', 'pyproject.toml'):
        shutil.copy(ROOT / name, tree)
    for name, text in FILES.items():
        path = tree / name
        if path.exists():  # the page shows lines to append
            text = path.read_text() + text
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tree / 'authors.py').write_text(AUTHORS)


# A text in each file that is generated or extended.
NAMED = {
    'mmvit_backbones/backbones/__init__.py': 'from .patch_mixer import PatchMixer',
    'docs/patch_mixer.md': '| `patch_mixer_tiny` | 32 64 128 256 |', 'mkdocs.yml': 'PatchMixer: patch_mixer.md',
    'docs/zoo.md': '| `patch_mixer_tiny` | 1.3 | 0.15 | – |',
    'docs/papers.md': '| figure 1 |  | `backbones.patch_mixer.PatchMixer`', 'README.md': 'docs/patch_mixer.md',
    'docs/api/backbones.md': 'PatchMixerArch', 'NOTICE': 'Nobody et al., 2026: PatchMixer',
    'model-index.yml': 'configs/metafiles/patchmixer.yml', 'tests/promised/state_dicts.txt': 'PatchMixer ',
    'tests/promised/names.txt': 'variant patch_mixer_tiny',
    'tests/promised/keys.txt': 'PatchMixer merges.*.weight'}


def test_the_page_is_followed_as_written(tmp_path):
    add_network(tmp_path)
    path = os.pathsep.join(str(tmp_path / name) for name in ('', 'tests/support', 'tests/goldens'))
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    env = {**os.environ, 'PYTHONPATH': path, 'PATH': programs, 'PYTEST_ADDOPTS': '-q'}
    done = subprocess.run(['bash', '-exc', COMMANDS], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.findall(r'(\d+) passed', done.stdout)[-1]) > 100
    assert not [file for file, text in NAMED.items() if text not in (tmp_path / file).read_text()]
    written = [name for name in FILES if name.endswith('.py')]
    for program, *options in (['ruff', 'check'], ['pyright', '--pythonpath', sys.executable]):
        if find_spec(program):
            done = subprocess.run([sys.executable, '-m', program, *options, *written], cwd=tmp_path,
                                  capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
