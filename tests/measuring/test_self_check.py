"""Tests the comparison of backends: results, gradients, time and defaults."""
import math
import time

import pytest
import torch

from mmvit.measuring import self_check
from mmvit.measuring.self_check import Figures
from mmvit_backbones.ops import dispatch, library

CPU, SMALLEST = torch.device('cpu'), self_check.SIZES[0]


@pytest.fixture
def register(monkeypatch):
    """Returns a function that registers an operator for the duration of a test; its kernel has the name ``cpp``."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})

    def register(kernel, reference=lambda x: 1 * x,
                 arguments=lambda randn, batch, height, width: dict(x=randn(height))):
        monkeypatch.setitem(self_check.ARGUMENTS, 'operator', arguments)
        return dispatch.Operator('operator', reference, like='x', cpp=dispatch.Kernel(kernel))

    return register


def toy(operator: dispatch.Operator, dtype: torch.dtype = torch.float32) -> Figures:
    """Returns the figures of a kernel for the smallest size."""
    return next(row.figures['cpp'] for row in self_check.measure([operator], CPU, [SMALLEST]) if row.dtype == dtype)


class WrongGradient(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        return 1 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


# ---- results and gradients


@pytest.mark.parametrize('dtype, limit', [(torch.float32, 1e-5), (torch.bfloat16, 6e-2)], ids=str)
@pytest.mark.parametrize('factor', [1., 1e-3])
def test_limits_of_the_deviation(register, dtype, limit, factor):
    """Deviations are relative to the largest element. The gradient of the squares deviates twice as much as the result.
    """
    for deviation, is_wrong in ((0.2 * limit, False), (1.5 * limit, True)):
        found = toy(register(lambda x: factor * x * (1 + deviation), lambda x: factor * x), dtype)
        assert found.is_wrong == is_wrong == ('deviates' in (found.fault or ''))


def test_tf32_has_the_limit_of_float16(register):
    operator = register(lambda x: 1.002 * x)
    assert toy(operator).is_wrong
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        assert not toy(operator).is_wrong
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_kernels_may_be_as_inaccurate_as_the_reference(register):
    """In float32, the reference of this test rounds its input to eighths."""
    assert not toy(register(lambda x: 1.01 * x, lambda x: x + 2**20 - 2**20)).is_wrong


def test_results_of_zero_agree(register):
    assert not toy(register(lambda x: 0 * x, lambda x: 0 * x)).is_wrong


def test_all_results_and_gradients_are_compared(register):
    def pair(x):
        return 1 * x, 2 * x

    assert not toy(register(pair, pair)).is_wrong
    assert toy(register(lambda x: (1 * x, 3 * x), pair)).is_wrong
    for kernel in (lambda x: WrongGradient.apply(x), lambda x: x / 0 * 0):
        assert toy(register(kernel)).is_wrong


def test_gradients_of_unused_arguments_may_be_missing(register):
    def arguments(randn, batch, height, width):
        return dict(unused=randn(3), x=randn(3))

    assert not toy(register(lambda unused, x: 1 * x, lambda unused, x: x + 0 * unused, arguments)).is_wrong


def test_errors_of_kernels_and_references_are_reported(register):
    def fails(x):
        raise RuntimeError('out of resource\nmore')

    for operator in (register(fails), register(lambda x: 1 * x, fails)):
        found = toy(operator)
        assert found.fault == 'fails: RuntimeError: out of resource' and not found.is_wrong


# ---- time and defaults


def test_the_table_has_times_and_faults(register):
    def wrong(x):
        return 2 * x

    rows = self_check.measure([register(wrong)], CPU)
    assert [row.size for row in rows[::2]] == list(self_check.SIZES)
    assert all(0 < found.forward < math.inf and 0 < found.step < math.inf
               for row in rows for found in row.figures.values())
    assert self_check.wrong_kernels(rows) == [f'cpp of operator in {dtype}' for dtype in ('float32', 'bfloat16')]
    lines = self_check.table(rows).splitlines()
    assert lines[4].startswith('| operator | float32 | 56 x 56 | ') and 'wrong' in lines[4]


def test_the_first_step_is_not_timed_because_it_compiles(register):
    called = set()

    def kernel(x):
        if (x.dtype, len(x)) not in called:
            time.sleep(0.2)
        called.add((x.dtype, len(x)))
        return 1 * x

    row, _ = self_check.measure([register(kernel)], CPU, [(56, 56)])
    assert row.figures['cpp'].forward < 0.2


def test_defaults_are_given_with_the_reasons_against_other_kernels(register):
    operator = register(lambda x: 1 * x)
    operator.kernels['cpp'] = dispatch.Kernel(operator.kernels['cpp'].run, lambda x: (
        'too exact' if x.dtype == torch.float32 else None))
    exact, half = self_check.describe_defaults(operator, CPU)
    assert 'operator in float32 runs reference' in exact and 'cpp: too exact' in exact
    assert half == 'operator in float16, bfloat16 runs cpp'
    with dispatch.use_kernels('reference'):
        assert 'cpp: runs on request' in self_check.describe_defaults(operator, CPU)[-1]


# ---- operators of this package


@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_kernels_can_run_the_calls(name):
    """The results and gradients are finite and not 0."""
    operator = dispatch.OPERATORS[name]
    for size in self_check.SIZES[:2]:
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
