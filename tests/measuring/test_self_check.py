"""Tests the comparison of backends with plain PyTorch: results and gradients."""
import pytest
import torch

from mmvit.measuring import self_check
from mmvit_backbones.ops import dispatch, library

CPU = torch.device('cpu')


@pytest.fixture
def faults(monkeypatch):
    """Returns a function that returns the faults of a kernel in C++, by dtype."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})

    def faults(kernel, reference=lambda x: 1 * x, arguments=lambda randn, height, width: dict(x=randn(height))):
        monkeypatch.setitem(self_check.ARGUMENTS, 'operator', arguments)
        operator = dispatch.Operator('operator', reference, like='x', cpp=dispatch.Kernel(kernel))
        return {check.dtype: check.fault for check in self_check.check_backends([operator], CPU)}

    return faults


class WrongGradient(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        return 1 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


@pytest.mark.parametrize('dtype, limit', [(torch.float32, 1e-5), (torch.bfloat16, 6e-2)], ids=str)
@pytest.mark.parametrize('factor', [1., 1e-3])
def test_limits_of_the_deviation(faults, dtype, limit, factor):
    """Deviations are relative to the largest element. The gradient of the squares deviates twice as much as the result.
    """
    for deviation, is_wrong in ((0.2 * limit, False), (1.5 * limit, True)):
        assert bool(faults(lambda x: factor * x * (1 + deviation), lambda x: factor * x)[dtype]) == is_wrong


def test_all_results_and_gradients_are_compared(faults):
    def pair(x):
        return 1 * x, 2 * x

    assert not any(faults(pair, pair).values())
    assert all(faults(lambda x: (1 * x, 3 * x), pair).values())
    for kernel in (lambda x: WrongGradient.apply(x), lambda x: x / 0 * 0):
        assert all(faults(kernel).values())


def test_errors_of_kernels_and_references_are_reported(faults):
    def fails(x):
        raise RuntimeError('out of resource\nmore')

    for found in faults(fails), faults(lambda x: 1 * x, fails):
        assert set(found.values()) == {'RuntimeError: out of resource'}


@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_kernels_can_run_the_calls(name):
    """The results and gradients are finite and not 0."""
    operator = dispatch.OPERATORS[name]
    for size in self_check.SIZES:
        arguments = self_check.arguments_of(operator, size, CPU, torch.float32)
        results = [x for x in self_check.values_of(operator, 'reference', arguments) if x is not None]
        assert results and all(x.isfinite().all() and x.any() for x in results)
        assert all(kernel.why_not(**arguments) is None for kernel in operator.kernels.values())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_no_position_depends_on_the_rounding(name, dtype):
    """Otherwise, right kernels would be reported as wrong."""
    operator = dispatch.OPERATORS[name]
    exact, found = (self_check.values_of(operator, 'reference', self_check.arguments_of(operator, (56, 56), CPU, other))
                    for other in (torch.float64, dtype))
    assert self_check.deviation_of(found, exact) <= 2 * self_check.limit_of(dtype)
