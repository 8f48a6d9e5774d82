"""The functions of utils/versions.py work, and features that need a newer PyTorch raise errors."""
import sys
from importlib.metadata import distributions

import pytest
import torch
from helpers import fresh_model, images, raises, relative_error

import mmvit
from mmvit.measuring import benchmark
from mmvit.measuring.doctor import check_kernels, check_package
from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils import versions


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_gelu_with_a_permuted_gradient(dtype):
    """The gradient is permuted, like the one that a channels-last layer gets from a convolution."""
    x, weight = torch.randn(2, 4, 6, 32, dtype=dtype), torch.randn(2, 32, 4, 6, dtype=dtype).permute(0, 2, 3, 1)
    leaf, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    versions.gelu(leaf).backward(weight)
    torch.nn.functional.gelu(exact).backward(weight.double().contiguous())
    assert relative_error(leaf.grad, exact.grad) < (1e-5 if dtype == torch.float32 else 1e-2)


def test_autocast_of_a_device():
    assert not versions.is_autocast_enabled('cpu')
    with torch.autocast('cpu', torch.bfloat16):
        assert versions.is_autocast_enabled('cpu')


def test_errors_name_the_required_version(monkeypatch):
    monkeypatch.setitem(versions.NEEDS, 'export', '99.1')
    with raises(UsageError, 'export', '99.1', torch.__version__[:3]):
        versions.require('export')
    monkeypatch.setitem(versions.NEEDS, 'export', torch.__version__)
    versions.require('export')


@pytest.mark.parametrize('name', mmvit.__all__)
def test_functions_exist_or_name_the_version(name):
    try:
        assert callable(getattr(mmvit, name))
    except UsageError as error:
        assert name == 'export_model' and versions.is_older('2.8') and '2.8' in str(error)


@pytest.mark.skipif(not versions.is_older('2.4'), reason='this PyTorch compiles the networks')
def test_an_old_compiler_is_refused():
    with raises(UsageError, 'torch.compile', '2.4'):
        torch.compile(fresh_model('ResT'))(images(60, 90))


def test_networks_are_measured():
    """Also where autocast to float32 is refused, even if it is not enabled, as in PyTorch 2.1 on CPUs."""
    rows = benchmark(['rest_lite'], 'rest_lite', dense=True, size=64, repeats=1).rows
    assert all(row['step_ms'] > 0 for row in rows)
    _, wrong = check_kernels(torch.device('cpu'))
    assert not wrong


def test_doctor_says_how_to_get_a_module_of_old_versions_of_setuptools(monkeypatch):
    """Upstream's MMEngine imports it when a config is read, its fork does not."""
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)
    _, problem = check_package('mmengine')
    assert "pip install 'setuptools<81'" in problem if any(distributions(name='mmengine')) else problem is None
