"""`mmvit doctor` reports which parts of the environment work, and why the others don't."""
import sys
import time

import pytest
import torch
from helpers import ROOT

from mmvit.analysis import doctor, self_check
from mmvit.analysis.doctor import describe_kernels, describe_package
from mmvit_backbones.ops import dispatch, library, triton
from mmvit_backbones.utils import versions


def test_packages_and_kernels_are_listed(run, monkeypatch):
    monkeypatch.setattr(doctor, 'OPERATORS', {})  # they are measured below
    lines = run('doctor').splitlines()
    for start in ('mmcv: ', 'mmdet: ', 'mmseg: ', 'mmpretrain: ', 'kernels in Triton: ', 'verdict: '):
        assert any(line.startswith(start) for line in lines)


def test_broken_packages_are_problems(run, tmp_path, monkeypatch, capsys):
    """Reports a package that cannot be imported, and two distributions of one package."""
    monkeypatch.setattr(doctor, 'OPERATORS', {})
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmseg']:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / 'mmseg.py').write_text('import no_such_module')
    for name in 'onedl-mmcv', 'mmcv':
        info = tmp_path / f'{name.replace("-", "_")}-1.0.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    with pytest.raises(SystemExit, match='1'):
        run('doctor')
    said = capsys.readouterr().out
    assert "mmseg cannot be imported: ModuleNotFoundError: No module named 'no_" in said
    assert '`pip uninstall mmcv onedl-mmcv`' in said and 'problem(s)' in said.splitlines()[-1]


@pytest.mark.parametrize('engine, command', [('onedl-mmengine', 'pip install onedl-mmdetection'),
                                             ('mmengine', 'pip install mmdet')])
def test_a_missing_package_is_named_like_the_installed_mmengine(engine, command, tmp_path, monkeypatch):
    info = tmp_path / f'{engine.replace("-", "_")}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {engine}\nVersion: 1.0\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    assert describe_package('mmdet') == f'mmdet: not installed; {command}'


@pytest.mark.parametrize('where, name, value, reason', [
    (triton, 'IS_INSTALLED', False, 'not installed'),
    (versions, 'NEEDS', {**versions.NEEDS, 'the Triton backend': '99.1'}, 'needs PyTorch 99.1'),
])
def test_unusable_triton_is_reported_with_the_reason(where, name, value, reason, monkeypatch):
    monkeypatch.setattr(triton, 'IS_INSTALLED', True)
    monkeypatch.setitem(versions.NEEDS, 'the Triton backend', '2.1')
    assert any(line.startswith('kernels in Triton: ') and 'missing' not in line for line in describe_kernels())
    monkeypatch.setattr(where, name, value)
    assert any(line.startswith('kernels in Triton: missing') and reason in line for line in describe_kernels())


@pytest.mark.parametrize('kernel, problem, advice', [
    (lambda x: 2 * x, 'wrong results or gradients: cpp of operator in float32', 'export MMVIT_KERNELS=reference'),
    (lambda x: time.sleep(0.02) or 1 * x, None, 'export MMVIT_KERNELS=reference'),
    (lambda x: 1 * x, None, 'MMVIT_KERNELS'),
], ids=['wrong', 'slow', 'right'])
def test_verdict_on_kernels(kernel, problem, advice, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(doctor, 'OPERATORS', {})
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(doctor, 'PACKAGES', ())
    monkeypatch.setattr(doctor, 'find_conflicts', list)
    monkeypatch.setitem(library.MISSING, 'cpp', None)
    doctor.OPERATORS['operator'] = dispatch.Operator(
        'operator', lambda x: 1 * x, like='x', cpp=dispatch.Kernel(kernel))
    monkeypatch.setitem(self_check.CALLS, 'operator', self_check.Calls(
        lambda randn: [dict(x=randn(3))], lambda randn, height, width: dict(x=randn(height))))
    lines, problems = doctor.diagnose()
    assert any(advice in line for line in lines) and any('| operator | float32 | 56 x 56 | ' in line for line in lines)
    assert (problem in problems) if problem else not problems
    assert lines[-1].startswith('verdict: ') and ('problem' in lines[-1]) == bool(problem)


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
