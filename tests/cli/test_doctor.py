"""`mmvit doctor` reports which parts of the environment work, and why the others don't."""
import os
import subprocess
import sys

import pytest
import torch
from helpers import ROOT

from mmvit_backbones.cli.doctor import describe_kernels, describe_package
from mmvit_backbones.ops import dispatch, library
from mmvit_backbones.ops.self_check import TOLERANCES, Row
from mmvit_backbones.ops.triton import availability
from mmvit_backbones.utils import versions


def doctor(**env):
    return subprocess.run([sys.executable, '-m', 'mmvit', 'doctor'], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, **env})


@pytest.mark.slow
def test_packages_and_kernels_are_listed():
    done = doctor()
    assert done.returncode == 0 and '\nkernels in Triton: ' in done.stdout
    for framework in ('mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
        assert f'\n{framework}: ' in done.stdout


@pytest.mark.slow
def test_broken_packages_are_problems(tmp_path):
    """Reports a package that cannot be imported, and two distributions of one package."""
    (tmp_path / 'mmseg.py').write_text('import no_such_module')
    for name in 'onedl-mmcv', 'mmcv':
        info = tmp_path / f'{name.replace("-", "_")}-1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    done = doctor(PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and "mmseg cannot be imported: ModuleNotFoundError: No module named 'no_" in done.stdout
    assert '`pip uninstall mmcv onedl-mmcv`' in done.stdout


@pytest.mark.parametrize('engine, command', [('onedl-mmengine', 'pip install onedl-mmdetection'),
                                             ('mmengine', 'pip install mmdet')])
def test_a_missing_package_is_named_like_the_installed_mmengine(engine, command, tmp_path, monkeypatch):
    info = tmp_path / f'{engine.replace("-", "_")}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {engine}\nVersion: 1.0\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    assert describe_package('mmdet') == f'mmdet: not installed; {command}'


@pytest.mark.parametrize('where, name, value, reason', [
    (availability, 'triton', None, 'not installed'),
    (versions, 'NEEDS', {**versions.NEEDS, 'the Triton backend': '99.1'}, 'needs PyTorch 99.1'),
])
def test_unusable_triton_is_reported_with_the_reason(where, name, value, reason, monkeypatch):
    monkeypatch.setattr(availability, 'triton', torch)
    monkeypatch.setitem(versions.NEEDS, 'the Triton backend', '2.1')
    assert 'kernels in Triton: installed, but there is no GPU' in describe_kernels(None)
    monkeypatch.setattr(where, name, value)
    assert any(line.startswith('kernels in Triton: missing') and reason in line for line in describe_kernels(None))


def test_kernels_on_a_gpu_are_reported_with_their_time(monkeypatch):
    gpu = torch.device('cuda', 0)
    rows = [Row('reference', seconds=(2e-3, 8e-3)), Row('triton', 3e-4, (1e-3, 4e-3)),
            Row('cuda', 0.5, reason='its kernels deviate')]
    for operator in dispatch.OPERATORS.values():
        monkeypatch.setattr(operator, 'rows', {(gpu, dtype): rows for dtype in TOLERANCES})
    lines = describe_kernels(gpu)
    assert '| residual attention | float16 | reference |  | 2.000 | 8.000 | if the others cannot run |' in lines
    assert '| residual attention | float16 | triton | 3e-04 | 1.000 | 4.000 | yes |' in lines
    assert '| residual attention | float16 | cuda | 5e-01 |  |  | its kernels deviate |' in lines


@pytest.mark.parametrize('where, name, value, is_fixable', [
    (library, 'FOLDER', ROOT / 'docs', True),  # without libraries
    (torch.version, 'cuda', None, False),
    (versions, 'NEEDS', {**versions.NEEDS, 'compiling the operators': '99.1'}, False),
])
def test_build_is_advised_only_where_it_works(where, name, value, is_fixable, monkeypatch):
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setitem(library.MISSING, 'cpp', None)
    monkeypatch.setitem(versions.NEEDS, 'compiling the operators', '2.1')
    monkeypatch.setattr(where, name, value)
    assert ('mmvit_backbones.ops.build' in library.load('cuda')) == is_fixable
