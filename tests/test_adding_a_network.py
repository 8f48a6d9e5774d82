"""A network added as described in docs/adding_a_network.md passes the tests of a network."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from golden import digest, fill_state_dict, make_input
from helpers import ROOT
from torch import Tensor

PAGE = (ROOT / 'docs/adding_a_network.md').read_text()
FILES = dict(re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', PAGE, flags=re.MULTILINE | re.DOTALL))
DEPTHS, WIDTHS = (1, 1, 2, 1), (32, 64, 128, 256)
pytestmark = pytest.mark.slow


def authors_shapes() -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a checkpoint in the authors' layout."""
    shapes, before = {}, 3
    for i, (depth, width) in enumerate(zip(DEPTHS, WIDTHS)):
        side = 4 if i == 0 else 2
        shapes |= {f'down.{i}.weight': (width, before, side, side), f'down.{i}.bias': (width, )}
        layers = dict(norm1=(width, ), conv=(width, 1, 3, 3), norm2=(width, ))
        layers |= {'mlp.fc1': (4 * width, width), 'mlp.fc2': (width, 4 * width)}
        for j in range(depth):
            for name, shape in layers.items():
                shapes |= {f'layers.{i}.{j}.{name}.weight': shape, f'layers.{i}.{j}.{name}.bias': shape[:1]}
        before = width
    return shapes | {'norm.weight': (256, ), 'norm.bias': (256, ), 'head.weight': (1000, 256), 'head.bias': (1000, )}


def authors_network(weights: dict[str, Tensor], images: Tensor) -> dict[str, Tensor]:
    """Runs the authors' forward pass on NCHW maps; returns the maps of all stages and the logits."""
    def apply(function, name: str, x: Tensor, **options) -> Tensor:
        return function(x, weights[f'{name}.weight'], weights[f'{name}.bias'], **options)

    def norm(name: str, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], weights[f'{name}.weight'], weights[f'{name}.bias'])
        return x.permute(0, 3, 1, 2)

    outputs, x = {}, images
    for i, depth in enumerate(DEPTHS):
        x = apply(F.conv2d, f'down.{i}', x, stride=4 if i == 0 else 2)
        for name in (f'layers.{i}.{j}' for j in range(depth)):
            x = x + apply(F.conv2d, f'{name}.conv', norm(f'{name}.norm1', x), padding=1, groups=x.shape[1])
            hidden = apply(F.linear, f'{name}.mlp.fc1', norm(f'{name}.norm2', x).permute(0, 2, 3, 1))
            x = x + apply(F.linear, f'{name}.mlp.fc2', F.gelu(hidden)).permute(0, 3, 1, 2)
        outputs[f'stage{i + 1}'] = x
    return {**outputs, 'logits': apply(F.linear, 'head', norm('norm', x).mean((2, 3)))}


def golden() -> dict:
    shapes, size = authors_shapes(), (2, 3, 64, 96)
    outputs = authors_network(fill_state_dict(shapes), make_input(size))
    return dict(
        variant='patch_mixer_tiny', rtol=1e-6, num_params=sum(torch.Size(shape).numel() for shape in shapes.values()),
        state_dict=shapes, inputs=[dict(shape=size, seed=0, call='classify',
                                        outputs={name: digest(x) for name, x in outputs.items()})])


def add_network(tree: Path) -> None:
    """Copies the repository, and adds the files that the page shows."""
    for name in ('mmvit', 'mmvit_backbones', 'tests', 'tools', 'configs', 'docs'):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns('__pycache__', 'csrc', 'golden_*.json'))
    for name in ('README.md', 'NOTICE', 'mkdocs.yml', 'model-index.yml', 'pyproject.toml'):
        shutil.copy(ROOT / name, tree)
    for name, text in FILES.items():
        path = tree / name
        if path.exists():  # the page shows lines to append
            text = path.read_text() + text
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tree / 'tests/goldens/patch_mixer/golden_patch_mixer_t.json').write_text(json.dumps(golden()))


# The commands of the page, in one process, because importing takes most of the time.
COMMANDS = """
import runpy, sys
import pytest
sys.argv = ['make_metafiles.py']
runpy.run_path('tools/dev/make_metafiles.py', run_name='__main__')
modules = ['test_contract', 'test_contract_modules', 'test_goldens', 'engine/test_layer_decay',
           'integrations/test_timm']
chosen = 'PatchMixer or patch_mixer or left_out'
code = pytest.main(['-q', '-p', 'no:cacheprovider', *(f'tests/{name}.py' for name in modules), '-k', chosen,
                    '--write-goldens'])
runpy.run_path('tools/dev/make_metafiles.py', run_name='__main__')
sys.exit(code)
"""
# A text in each file that is generated or extended.
NAMED = {
    'mmvit_backbones/backbones/__init__.py': 'from .patch_mixer import PatchMixer',
    'docs/patch_mixer.md': '| `patch_mixer_tiny` | 32 64 128 256 |', 'mkdocs.yml': 'PatchMixer: patch_mixer.md',
    'docs/zoo.md': '| `patch_mixer_tiny` | 1.3 | 0.15 | – | 1e-10 |',
    'docs/papers.md': '| figure 1 |  | `backbones.patch_mixer.PatchMixer`', 'README.md': 'docs/patch_mixer.md',
    'docs/api/backbones.md': 'PatchMixerArch', 'NOTICE': 'Nobody et al., 2026: PatchMixer',
    'model-index.yml': 'configs/metafiles/patchmixer.yml', 'tests/goldens/patch_mixer/state_dicts.txt': '[PatchMixer]'}


def test_the_network_on_the_page_passes(tmp_path):
    add_network(tmp_path)
    path = os.pathsep.join(str(tmp_path / name) for name in ('', 'tests', 'tests/goldens'))
    done = subprocess.run([sys.executable, '-c', COMMANDS], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': path})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.search(r'(\d+) passed', done.stdout)[1]) > 60
    assert not [file for file, text in NAMED.items() if text not in (tmp_path / file).read_text()]
