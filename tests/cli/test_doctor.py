"""`mmvit doctor` reports which parts of the environment work, and why the others don't."""
import subprocess
import sys

import pytest
import torch
from helpers import ROOT

from mmvit_backbones.cli.doctor import (
    describe_check,
    describe_environment,
    describe_kernels,
    describe_package,
    describe_windows,
    fix_for,
)
from mmvit_backbones.ops import dispatch, library
from mmvit_backbones.ops.triton import availability
from mmvit_backbones.utils import installation, versions


@pytest.mark.slow
def test_frameworks_and_operators_work(run):
    lines = run('doctor').splitlines()
    for framework in ('mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
        assert any(line.startswith(f'{framework} ') and line.endswith(': runs') for line in lines), lines
    assert 'varied-size windows, C++ (CPU): runs' in lines


def test_broken_framework_is_reported_with_the_reason(monkeypatch, run, capsys):
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    with pytest.raises(SystemExit, match='1'):
        run('doctor')
    assert 'cannot be imported, ModuleNotFoundError' in capsys.readouterr().out


def test_missing_framework_is_reported_with_its_extra(monkeypatch):
    monkeypatch.setitem(installation.PROVIDERS, 'mmdet', ('no-such-distribution', ))
    assert describe_package('mmdet') == "mmdet: not installed; pip install 'mmvit_backbones[det]'"


@pytest.mark.parametrize('others, advice', [
    ([], 'mmvit_backbones[det]'), (['onedl-mmengine', 'onedl-mmcv'], 'mmvit_backbones[det]'),
    (['mmengine', 'mmcv'], 'mmdet>=3.3'), (['mmengine-lite'], 'mmdet>=3.3')])
def test_advice_fits_the_installed_distributions(others, advice, tmp_path, monkeypatch):
    for name in others:
        install(tmp_path, name)
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    assert describe_package('mmdet') == f"mmdet: not installed; pip install '{advice}'"


def test_rejected_kernels_are_reported_with_the_reason(monkeypatch):
    gpu, reasons = torch.device('cuda', 0), (None, 'its kernels deviate by 1.0e+00', None)
    monkeypatch.setattr(dispatch, 'checked', {
        ('gate', 'triton', gpu, dtype): reason for dtype, reason in zip(dispatch.TOLERANCES, reasons)})
    line = describe_check('gate', 'triton', gpu)
    assert 'used in float32; is not used in float16, because its kernels deviate by 1.0e+00; can be' in line


@pytest.mark.parametrize('where, name, value, reason', [
    (availability, 'triton', None, 'not installed'),
    (versions, 'NEEDS', {**versions.NEEDS, 'the Triton backend': '99.1'}, 'needs PyTorch 99.1'),
])
def test_unusable_triton_is_reported_with_the_reason(where, name, value, reason, monkeypatch):
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})
    monkeypatch.setattr(availability, 'triton', torch)
    monkeypatch.setitem(versions.NEEDS, 'the Triton backend', '2.1')
    assert any(line.endswith(': triton, cuda, reference') for line in describe_windows())
    assert any('on CPUs' in line and line.endswith(': cpp, reference') for line in describe_windows())
    monkeypatch.setattr(where, name, value)
    assert not any('triton' in line for line in describe_windows())
    for operator in dispatch.OPERATORS:
        line, = describe_kernels(operator, None)
        assert line.startswith('no Triton kernels') and reason in line


@pytest.mark.parametrize('missing, titles', [(None, ['CUDA', 'Triton']), ('not built', ['Triton'])])
def test_kernels_that_are_installed_are_reported(missing, titles, monkeypatch):
    name, gpu = 'varied-size window attention', torch.device('cuda', 0)
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': missing})
    monkeypatch.setattr(availability, 'triton', torch)
    monkeypatch.setitem(versions.NEEDS, 'the Triton backend', '2.1')
    monkeypatch.setattr(dispatch, 'checked', {
        (name, backend, gpu, dtype): None for backend in ('cuda', 'triton') for dtype in dispatch.TOLERANCES})
    lines = describe_kernels(name, gpu)
    assert [line.removeprefix('on this GPU, ').split()[0] for line in lines] == titles


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


def install(folder, name, version='1.0'):
    info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


@pytest.mark.parametrize('message, command', [
    ("No module named 'pkg_resources'", 'setuptools<81'),
    ('Numpy is not available', 'numpy<2'),
])
def test_incompatible_versions_are_reported_with_the_fix(message, command):
    assert command in fix_for(message)


@pytest.mark.parametrize('installed, message, requirement', [
    ('onedl-mmcv', 'MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0.', "'mmcv>=2.1,<2.2'"),
    ('mmcv-lite', "No module named 'mmcv._ext'", 'mmcv==2.2.0'),
    ('onedl-mmcv', 'mmcv/_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN3c10', 'onedl-mmcv==2.2.0'),
])
def test_the_fix_replaces_the_installed_mmcv(installed, message, requirement, tmp_path, monkeypatch):
    install(tmp_path, installed, '2.2.0')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    fix = fix_for(message)
    assert f'pip uninstall {installed},' in fix and f'--no-deps --no-cache-dir {requirement}' in fix


@pytest.mark.parametrize('message', [
    'MMCV==2.5.0 is used but incompatible. Please install mmcv>=2.0.0, <2.4.0.',  # the limit of the fork
    'torchvision/_C.so: undefined symbol: _ZN3c10',
])
def test_no_fix_is_reported_for_another_problem(message):
    assert 'pip' not in fix_for(message)


@pytest.mark.slow
def test_only_doctor_runs_with_conflicting_distributions(tmp_path, monkeypatch):
    for name in ('onedl-mmcv', 'mmcv'):
        install(tmp_path, name)
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{tmp_path}')
    conflict = 'both install the package mmcv'
    done = subprocess.run([sys.executable, 'mmvit.py', 'doctor'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and conflict in done.stdout and 'varied-size windows, plain PyTorch' in done.stdout
    done = subprocess.run([sys.executable, 'mmvit.py', 'models'], cwd=ROOT, capture_output=True, text=True)
    line, = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith('error: ') and conflict in line


def test_environment_has_no_problems():
    assert not describe_environment()
