"""`mmvit doctor` reports which parts of the environment work, and why the others don't."""
import sys

import pytest
import torch

from mmvit_backbones.cli.doctor import (
    describe,
    describe_check,
    describe_environment,
    describe_package,
    describe_triton,
    fix_for,
)
from mmvit_backbones.ops import dispatch
from mmvit_backbones.utils import installation


@pytest.mark.slow
def test_frameworks_and_operators_work():
    lines = describe()
    for framework in ('mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
        assert any(line.startswith(f'{framework} ') and line.endswith(': runs') for line in lines), lines
    assert "CPU tensors use the backend 'cpp'" in lines


def test_broken_framework_is_reported_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    assert 'cannot be imported, ModuleNotFoundError' in describe_package('mmpretrain')


def test_missing_framework_is_reported_with_its_extra(monkeypatch):
    monkeypatch.setitem(installation.PROVIDERS, 'mmdet', ('no-such-distribution', ))
    assert describe_package('mmdet') == "mmdet: not installed; pip install 'mmvit_backbones[det]'"


def test_fallback_from_triton_is_reported_with_the_reason(monkeypatch):
    if not torch.cuda.is_available():
        assert all(describe_triton(name).startswith('Triton') for name in dispatch.OPERATORS)
    gpu, reasons = torch.device('cuda', 0), (None, 'its kernels deviate by 1.0e+00', None)
    monkeypatch.setattr(dispatch, 'checked', {
        ('gate', 'triton', gpu, dtype): reason for dtype, reason in zip(dispatch.TOLERANCES, reasons)})
    line = describe_check('gate', gpu)
    assert 'used in float32; replaced by plain PyTorch in float16, because its kernels deviate by 1.0e+00' in line
    assert line.endswith('; used in bfloat16')


@pytest.mark.parametrize('message, command', [
    ('MMCV==2.2.0 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0.', 'mmcv>=2.1,<2.2'),
    ("No module named 'pkg_resources'", 'setuptools<81'),
    ("No module named 'mmcv._ext'", 'MMCV_WITH_OPS=1'),
    ('Numpy is not available', 'numpy<2'),
    ('mmcv/_ext.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN3c10', '--no-cache-dir mmcv'),
])
def test_incompatible_versions_are_reported_with_the_fix(message, command):
    assert command in fix_for(message)


def test_environment_has_no_problems():
    assert not describe_environment()
