"""Tests the comparison of backends: results, gradients, time and advice."""
import pytest
import torch

from mmvit.analysis import self_check
from mmvit.analysis.self_check import Figures, Row
from mmvit_backbones.ops import dispatch, library

CPU = torch.device('cpu')
TIMES = {3: 0.5, 56: 1 / 128, 200: 1 / 32}  # seconds of the reference, by number of elements


@pytest.fixture
def register(monkeypatch):
    """Returns a function that registers an operator for the duration of a test; its kernel has the name ``cpp``."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})

    def register(kernel, reference=lambda x: 1 * x, example=lambda randn: [dict(x=randn(3))]):
        monkeypatch.setitem(self_check.CALLS, 'operator', self_check.Calls(
            example, lambda randn, batch, height, width: dict(x=randn(height))))
        return dispatch.Operator('operator', reference, like='x', cpp=dispatch.Kernel(kernel))

    return register


def toy(operator: dispatch.Operator, dtype: torch.dtype = torch.float32) -> Figures:
    """Returns the figures of a kernel for the example."""
    return next(row.figures['cpp'] for row in self_check.measure([operator], CPU, ['toy']) if row.dtype == dtype)


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


def test_all_calls_results_and_gradients_are_compared(register):
    def pair(x):
        return 1 * x, 2 * x

    assert not toy(register(pair, pair)).is_wrong
    assert toy(register(lambda x: (1 * x, 3 * x), pair)).is_wrong
    assert toy(register(lambda x: 1 * x if len(x) == 3 else 2 * x,
                        example=lambda randn: [dict(x=randn(3)), dict(x=randn(4))])).is_wrong
    for kernel in (lambda x: WrongGradient.apply(x), lambda x: x / 0 * 0):
        assert toy(register(kernel)).is_wrong


def test_gradients_of_unused_arguments_may_be_missing(register):
    def example(randn):
        return [dict(unused=randn(3), x=randn(3))]

    assert not toy(register(lambda unused, x: 1 * x, lambda unused, x: x + 0 * unused, example)).is_wrong


def test_errors_of_kernels_and_references_are_reported(register):
    def fails(x):
        raise RuntimeError('out of resource\nmore')

    for operator in (register(fails), register(lambda x: 1 * x, fails)):
        found = toy(operator)
        assert found.fault == 'fails: RuntimeError: out of resource' and not found.is_wrong


# ---- time and advice


class Clock:
    """A clock that only moves when a function says how long it took."""
    now = 0.

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: dict[int, float], factor: float = 1.):
        """Returns a kernel that takes this time, by number of elements, and multiplies its input by a factor."""

        def kernel(x):
            self.now += seconds[len(x)]
            return factor * x

        return kernel


@pytest.mark.parametrize('small, large, factor, advice', [
    (1 / 256, 1 / 64, 1, 'leave MMVIT_KERNELS unset, 2.00 times as long with reference'),
    (1 / 129, 1 / 33, 1, 'leave MMVIT_KERNELS unset'), (1 / 256, 1 / 32, 1, 'leave MMVIT_KERNELS unset'),
    (1 / 64, 1 / 16, 1, 'export MMVIT_KERNELS=reference'), (1 / 256, 1 / 64, 2, 'export MMVIT_KERNELS=reference')],
    ids=['fast', 'equal', 'at_one_size', 'slow', 'wrong'])
def test_a_slow_or_wrong_default_is_replaced(register, small, large, factor, advice):
    clock = Clock()
    operator = register(clock.taking({3: 9, 56: small, 200: large}, factor), clock.taking(TIMES))
    rows = self_check.measure([operator], CPU, clock=clock)
    assert [(row.size, row.figures['reference'].forward) for row in rows[::2]] == [
        ('toy', 0.5), ('56 x 56', 1 / 128), ('200 x 304', 1 / 32)]
    assert advice in self_check.advise(rows, CPU)
    wrong = self_check.wrong_kernels(rows)
    assert wrong == ([f'cpp of operator in {dtype}' for dtype in ('float32', 'bfloat16')] if factor == 2 else [])
    lines = self_check.table(rows).splitlines()
    assert f'| operator | float32 | 56 x 56 | 7.81 + 0 (0e+00) | {1e3 * small:.3g} + 0 (' in lines[4]
    assert ('wrong' in lines[4]) == (factor == 2)


@pytest.mark.parametrize('triton, advice', [
    (Figures(0, 0.1, 0.3), 'export MMVIT_KERNELS=triton'),
    (Figures(0, 0.5, 0.49), 'the reference is faster here'), (Figures(0, 2, 1), 'the reference is faster here'),
    (Figures(0.5, 0.1, 0.1, 'wrong'), 'the reference is faster here'),
    (Figures(fault='fails'), 'the reference is faster here'), (Figures(), 'the reference is faster here')])
def test_triton_is_advised_only_if_it_is_right_and_faster(monkeypatch, triton, advice):
    """On a GPU without compiled operators; the fault, if any, is that of one of two dtypes."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': 'not built'})
    monkeypatch.setattr('mmvit_backbones.ops.triton.IS_INSTALLED', True)
    operator = dispatch.Operator('operator', None, like='x', triton=dispatch.Kernel(None))
    reference = Figures(0, 0.5, 0.5)
    rows = [Row(operator, torch.float32, '56 x 56', dict(reference=reference, triton=Figures(0, 0.2, 0.2))),
            Row(operator, torch.bfloat16, '56 x 56', dict(reference=reference, triton=triton))]
    if triton == Figures(0, 0.5, 0.49):
        rows = rows[1:]
    if triton == Figures(0, 2, 1):
        rows = rows[1:] * 2 + rows[:1]
    assert advice in self_check.advise(rows, torch.device('meta'))


def test_toys_are_not_timed_for_the_advice(register):
    clock = Clock()
    operator = register(clock.taking(dict.fromkeys(TIMES, 9.)), clock.taking(TIMES))
    assert self_check.advise(self_check.measure([operator], CPU, ['toy'], clock), CPU).endswith('unset')


def test_the_first_step_is_not_timed_because_it_compiles(register):
    clock, calls = Clock(), []

    def kernel(x):
        calls.append((x.dtype, len(x)))
        clock.now += 100 if calls.count(calls[-1]) == 1 else 1e-3
        return 1 * x

    rows = self_check.measure([register(kernel, clock.taking(TIMES))], CPU, clock=clock)
    assert all(row.figures['cpp'].forward < 1 for row in rows)


def test_slow_steps_are_measured_once(register):
    """The command must not take long."""
    clock = Clock()
    slow = clock.taking({3: 1., 56: 1., 200: 1.})
    self_check.measure([register(slow, slow)], CPU, ['56 x 56'], clock)
    assert clock.now == 1 + 2 * 2 * 2  # once in float64; in two dtypes, two backends with one step before measuring


# ---- operators of this package


@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_examples_and_workloads_can_run(name):
    """Triton can run them; the results and gradients of the examples are finite and not 0."""
    operator = dispatch.OPERATORS[name]
    calls = self_check.calls_of(operator, 'toy', CPU, torch.float32)
    results = [x for x in self_check.values_of(operator, 'reference', calls) if x is not None]
    assert results and all(x.isfinite().all() and x.any() for x in results)
    for arguments in [*calls, *self_check.calls_of(operator, '56 x 56', CPU, torch.float32)]:
        assert operator.kernels['triton'].why_not(**arguments) is None


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_no_position_depends_on_the_rounding(name, dtype):
    """Otherwise, right kernels would be reported as wrong."""
    operator = dispatch.OPERATORS[name]
    exact, found = (self_check.values_of(operator, 'reference', self_check.calls_of(operator, '56 x 56', CPU, other))
                    for other in (torch.float64, dtype))
    assert self_check.deviation_of(found, exact) <= 2 * self_check.limit_of(dtype)
