"""Tests the self-check, which compares results, gradients and time of kernels with the reference."""
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from mmvit_backbones.ops import dispatch, library, self_check
from mmvit_backbones.ops.triton import availability

CPU = torch.device('cpu')


@pytest.fixture
def register(monkeypatch):
    """Returns a function that registers an operator for the duration of a test; its kernel has the name ``cpp``."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})

    def register(kernel, reference=lambda x: 1 * x, example=lambda randn: [dict(x=randn(3))]):
        return dispatch.Operator('operator', reference, example, lambda randn, height, width: dict(x=randn(height)),
                                 like='x', cpp=kernel)

    return register


def deviates(operator: dispatch.Operator, dtype: torch.dtype = torch.float32) -> bool:
    """Returns whether the self-check rejects the results or gradients of the kernel."""
    _, row = self_check.check(operator, ['cpp'], CPU, dtype)
    return row.reason is not None and 'deviate' in row.reason


class WrongGradient(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        return 1 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


# ---- results and gradients


@pytest.mark.parametrize('dtype, limit', [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)],
                         ids=str)
@pytest.mark.parametrize('factor', [1., 1e-3])
def test_limits_of_the_deviation(register, dtype, limit, factor):
    """Deviations are relative to the largest element. The gradient of the squares deviates twice as much as the result.
    """
    for deviation, is_wrong in ((0.2 * limit, False), (1.5 * limit, True)):
        operator = register(lambda x: factor * x * (1 + deviation), lambda x: factor * x)
        assert deviates(operator, dtype) == is_wrong


def test_tf32_has_the_limit_of_float16(register):
    operator = register(lambda x: 1.002 * x)
    assert deviates(operator)
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        assert not deviates(operator)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_references_are_more_accurate_than_kernels(register):
    """In float32, the reference of this test would round its input to eighths."""
    assert not deviates(register(lambda x: 1 * x, lambda x: x + 2**20 - 2**20))


def test_results_of_zero_agree(register):
    assert not deviates(register(lambda x: 0 * x, lambda x: 0 * x))


def test_all_calls_results_and_gradients_are_compared(register):
    def pair(x):
        return 1 * x, 2 * x

    assert not deviates(register(pair, pair))
    assert deviates(register(lambda x: (1 * x, 3 * x), pair))
    assert deviates(register(lambda x: 1 * x if len(x) == 3 else 2 * x,
                             example=lambda randn: [dict(x=randn(3)), dict(x=randn(4))]))
    for kernel in (lambda x: WrongGradient.apply(x), lambda x: x / 0 * 0):
        assert deviates(register(kernel))


@pytest.mark.parametrize('reference', [lambda unused, x: 1 * x, lambda unused, x: x + 0 * unused],
                         ids=['None', 'zeros'])
def test_gradients_of_unused_arguments_may_be_missing(reference):
    def run(kernel):
        operator = dispatch.Operator('unused', reference, lambda randn: [dict(unused=randn(3), x=randn(3))], None,
                                     like='x', triton=kernel)
        del dispatch.OPERATORS['unused']
        results = []
        for backend in ('reference', 'triton'):
            leaves = dict(unused=torch.ones(3), x=torch.ones(3))
            operator.functions['reference'] = operator.functions[backend]
            results.append(self_check.forward_and_backward(operator, 'reference', leaves)[1])
        return results

    (_, expected), (unused, actual) = run(lambda unused, x: 1 * x)
    assert unused is None and torch.equal(expected, actual)


# ---- time


class Clock:
    """A clock that only moves when a function says how long it took."""
    now = 0.

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds):
        """Returns a kernel that takes this time, by number of elements."""

        def kernel(x):
            self.now += seconds[len(x)]
            return 1 * x

        return kernel


@pytest.mark.parametrize('small, large, is_used', [
    (1 / 256, 1 / 64, True), (1 / 128, 1 / 64, False), (1 / 64, 1 / 64, False), (1 / 256, 1 / 32, False),
    (1 / 256, 1 / 16, False)])
def test_kernels_that_are_not_faster_are_not_used(register, small, large, is_used):
    """The reference takes 1/128 s for a map of 56 x 56 tokens, and 1/32 s for a map of 200 x 304."""
    clock = Clock()
    kernel = clock.taking({3: 1, 56: small, 200: large})  # the example's call has three elements and is not timed
    operator = register(kernel, clock.taking({3: 1, 56: 1 / 128, 200: 1 / 32}))
    reference, row = rows = self_check.check(operator, ['cpp'], CPU, torch.float32, clock)
    assert reference.seconds == (1 / 128, 1 / 32) and row.seconds == (small, large)
    assert self_check.fastest_first(rows) == (['cpp', 'reference'] if is_used else ['reference'])
    assert is_used or 'not faster' in row.reason


def test_the_fastest_kernel_comes_first():
    rows = [self_check.Row('reference', seconds=(5, 5)), self_check.Row('triton', 0, (2, 2)),
            self_check.Row('cuda', 0, (1, 2)), self_check.Row('cpp', 0, (0, 0), 'its kernels deviate')]
    assert self_check.fastest_first(rows) == ['cuda', 'triton', 'reference']


def test_the_first_step_is_not_timed_because_it_compiles(register):
    clock, calls = Clock(), []

    def kernel(x):
        calls.append(len(x))
        clock.now += 100 if calls.count(len(x)) == 1 else 1e-3
        return 1 * x

    operator = register(kernel, clock.taking({3: 1, 56: 2e-3, 200: 2e-3}))
    assert self_check.check(operator, ['cpp'], CPU, torch.float32, clock)[1].seconds == pytest.approx((1e-3, 1e-3))


def test_slow_steps_are_measured_once(register):
    """The check of an operator must not take long."""
    clock = Clock()
    slow = clock.taking({3: 0, 56: 1, 200: 1})
    self_check.check(register(slow, slow), ['cpp'], CPU, torch.float32, clock)
    assert clock.now == 8  # two backends and two sizes, each with one step before the measurement


def test_kernels_are_used_if_the_reference_cannot_run(register):
    """For example, the gradient of ``grid_sample`` on a GPU raises an error if algorithms must be deterministic."""
    def reference(x):
        if len(x) > 3:
            raise RuntimeError('no deterministic implementation')
        return 1 * x

    rows = self_check.check(register(lambda x: 1 * x, reference), ['cpp'], CPU, torch.float32)
    assert self_check.fastest_first(rows) == ['cpp', 'reference']


# ---- when it runs


def test_errors_of_kernels_are_reported_once(register, caplog):
    def kernel(x):
        raise RuntimeError('out of resource')

    operator = register(kernel)
    for _ in range(2):
        _, row = operator.checked(CPU, torch.float32)
        assert 'RuntimeError' in row.reason and 'out of resource' in row.reason
    assert len(caplog.messages) == 1 and 'out of resource' in caplog.text


@pytest.mark.parametrize('context', [torch.inference_mode, FakeTensorMode, lambda: torch.device('meta')],
                         ids=['inference', 'fake', 'default_device'])
def test_the_check_does_not_depend_on_modes(register, context):
    """A kernel that is rejected because of the mode of its first call would not be used in later calls either."""
    operator = register(lambda x: 1 * x)
    with context():
        _, row = operator.checked(CPU, torch.float32)
    assert row.deviation == 0 and len(row.seconds) == 2


def test_the_check_works_in_checkpointed_blocks(register):
    """Otherwise, the tensors that the check saves would be missing in the recomputation."""
    operator = register(lambda x: 1 * x)

    def block(x):
        assert operator.checked(CPU, torch.float32)[1].deviation == 0
        return x.square()

    x = torch.ones(3, requires_grad=True)
    checkpoint(block, x, use_reentrant=False).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


def test_kernels_are_checked_while_a_graph_is_compiled(register):
    """The check runs only once, while the graph is traced."""
    calls = []

    def kernel(x):
        calls.append(x.shape)
        return 1 * x

    register(kernel)

    @torch.compile(fullgraph=True, backend='eager')
    def network(x):
        return x + len(dispatch.checked_order('operator', x.device, x.dtype))

    torch._dynamo.reset()
    first, number = network(torch.zeros(3)), len(calls)
    assert torch.equal(first, network(torch.zeros(3))) and number > 0 and len(calls) == number


@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_examples_and_workloads_can_run(name):
    """Triton can run them; the results and gradients of the examples are finite and not 0."""
    operator = dispatch.OPERATORS[name]
    assert self_check.deviation_of(operator, 'reference', CPU, torch.float32) <= self_check.limit_of(torch.float32)
    results = [x for x in self_check.run_example(operator, 'reference', CPU, torch.float32) if x is not None]
    assert results and all(x.isfinite().all() and x.any() for x in results)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(shape)

    calls = [*operator.example(randn), operator.workload(randn, 20, 30)]
    for arguments in calls:
        assert operator.why_not('triton', **arguments) is None
    assert self_check.forward_and_backward(operator, 'reference', calls[-1])[0]


@pytest.mark.skipif(availability.triton is None, reason='Triton is not installed')
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_the_check_works_with_deterministic_algorithms(name, monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    torch.use_deterministic_algorithms(True)
    try:
        rows = self_check.check(dispatch.OPERATORS[name], ['triton'], torch.device('cuda', 0), torch.bfloat16)
        assert rows[1].deviation <= self_check.limit_of(torch.bfloat16) and rows[1].seconds
    finally:
        torch.use_deterministic_algorithms(False)
