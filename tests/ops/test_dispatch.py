"""Tests how operators choose a backend, and the self-check that compares kernels with the formula."""
import pytest
import torch
from helpers import raises
from torch._subclasses import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from mmvit_backbones.ops import dispatch, library
from mmvit_backbones.ops.triton import availability

CPU = torch.device('cpu')
needs_triton = pytest.mark.skipif(availability.triton is None, reason='Triton is not installed')


@pytest.fixture
def register(monkeypatch):
    """Returns a function that registers an operator for the duration of a test; its kernel has the name ``cpp``."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(dispatch, 'checked', {})
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})

    def register(kernel, formula=lambda x: 1 * x, example=lambda randn: [dict(x=randn(3))]):
        return dispatch.Operator('operator', formula, example, like='x', cpp=kernel)

    return register


def found(dtype: torch.dtype = torch.float32) -> str | None:
    """Returns what the self-check finds, or None."""
    return dispatch.self_check('operator', 'cpp', CPU, dtype)


class WrongGradient(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        return 1 * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad


# ---- self-check


@pytest.mark.parametrize('dtype, limit', [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)],
                         ids=str)
@pytest.mark.parametrize('factor', [1., 1e-3])
def test_limits_of_the_deviation(register, dtype, limit, factor):
    """Deviations are relative to the largest element. The gradient of the squares deviates twice as much as the result.
    """
    for deviation, is_wrong in ((0.2 * limit, False), (1.5 * limit, True)):
        register(lambda x: factor * x * (1 + deviation), lambda x: factor * x)
        assert (found(dtype) is not None) == is_wrong, found(dtype)


def test_tf32_has_the_limit_of_float16(register):
    register(lambda x: 1.002 * x)
    assert 'deviate' in found()
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        assert found() is None
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_formulas_are_more_accurate_than_kernels(register):
    """In float32, the formula of this test would round its input to eighths."""
    register(lambda x: 1 * x, lambda x: x + 2**20 - 2**20)
    assert found() is None


def test_results_of_zero_agree(register):
    register(lambda x: 0 * x, lambda x: 0 * x)
    assert found() is None


def test_all_calls_results_and_gradients_are_compared(register):
    def pair(x):
        return 1 * x, 2 * x

    register(pair, pair)
    assert found() is None
    register(lambda x: (1 * x, 3 * x), pair)
    assert 'deviate' in found()
    register(lambda x: 1 * x if len(x) == 3 else 2 * x, example=lambda randn: [dict(x=randn(3)), dict(x=randn(4))])
    assert 'deviate' in found()
    for kernel in (lambda x: WrongGradient.apply(x), lambda x: x / 0 * 0):
        register(kernel)
        assert 'deviate' in found()


@pytest.mark.parametrize('formula', [lambda unused, x: 1 * x, lambda unused, x: x + 0 * unused], ids=['None', 'zeros'])
def test_gradients_of_unused_arguments_may_be_missing(register, formula):
    def example(randn):
        return [dict(unused=randn(3), x=randn(3))]

    register(lambda unused, x: 1 * x, formula, example)
    assert found() is None
    register(lambda unused, x: WrongGradient.apply(x), formula, example)
    assert 'deviate' in found()


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_the_check_works_with_deterministic_algorithms(name, monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    torch.use_deterministic_algorithms(True)
    try:
        assert dispatch.self_check(name, 'triton', torch.device('cuda', 0), torch.bfloat16) is None
    finally:
        torch.use_deterministic_algorithms(False)


def test_errors_of_kernels_are_reported_once(register, caplog):
    def kernel(x):
        raise RuntimeError('out of resource')

    register(kernel)
    for _ in range(2):
        reason = dispatch.why_not_trusted('operator', 'cpp', CPU, torch.float32)
        assert 'RuntimeError' in reason and 'out of resource' in reason
    assert len(caplog.messages) == 1 and 'out of resource' in caplog.text
    register(lambda x: 1 * x)
    assert dispatch.why_not_trusted('operator', 'cpp', CPU, torch.float16) is None and len(caplog.messages) == 1


def test_the_check_can_be_disabled_and_does_not_cover_float64(register, monkeypatch):
    register(lambda x: 2 * x)
    arguments = 'operator', 'cpp', CPU
    assert dispatch.why_not_trusted(*arguments, torch.float64) is None
    monkeypatch.setattr(dispatch, 'SELF_CHECK', False)
    assert dispatch.why_not_trusted(*arguments, torch.float32) is None
    monkeypatch.setattr(dispatch, 'SELF_CHECK', True)
    assert 'deviate' in dispatch.why_not_trusted(*arguments, torch.float32)


@pytest.mark.parametrize('context', [torch.inference_mode, FakeTensorMode, lambda: torch.device('meta')],
                         ids=['inference', 'fake', 'default_device'])
def test_the_check_does_not_depend_on_modes(register, context):
    """A kernel that is rejected because of the mode of its first call would not be used in later calls either."""
    register(lambda x: 1 * x)
    with context():
        assert dispatch.why_not_trusted('operator', 'cpp', CPU, torch.float32) is None


def test_the_check_works_in_checkpointed_blocks(register):
    """Otherwise, the tensors that the check saves would be missing in the recomputation."""
    register(lambda x: 1 * x)

    def block(x):
        assert dispatch.why_not_trusted('operator', 'cpp', CPU, torch.float32) is None
        return x.square()

    x = torch.ones(3, requires_grad=True)
    checkpoint(block, x, use_reentrant=False).sum().backward()
    assert x.grad.tolist() == [2, 2, 2]


@pytest.mark.parametrize('name', dispatch.OPERATORS)
def test_formulas_pass_their_own_self_check(name):
    """Triton can run the examples, whose results and gradients are finite and not 0."""
    operator = dispatch.OPERATORS[name]
    assert dispatch.self_check(name, 'reference', CPU, torch.float32) is None
    results = [x for x in dispatch.run_example(name, 'reference', CPU, torch.float32) if x is not None]
    assert results and all(x.isfinite().all() and x.any() for x in results)
    for arguments in operator.example(lambda *shape: torch.randn(shape)):
        assert operator.why_not('triton', **arguments) is None


# ---- choice


def test_kernels_run_by_default_and_formulas_where_they_must(register):
    operator, x = register(lambda x: 2 * x), torch.ones(3)
    assert operator(x=x).sum() == operator('cpp', x=x).sum() == 6 and operator('reference', x=x).sum() == 3
    with dispatch.plain_pytorch():
        assert operator(x=x).sum() == 3 and operator('cpp', x=x).sum() == 6
    assert operator(x=x).sum() == 6
    with raises(ValueError, 'cuda', 'cpp', 'reference'):
        operator('cuda', x=x)


def test_reasons_why_a_backend_cannot_run(monkeypatch):
    operator, x = dispatch.OPERATORS['varied-size window sampling'], torch.zeros(1, 1, 1, 1, 1)
    for missing, backend, device, words in [
        (dict(cpp=None, cuda=None), 'cuda', 'cpu', 'must be on cuda, got cpu'),
        (dict(cpp=None, cuda='not built'), 'cuda', 'cpu', 'not built'),
        (dict(cpp='not built', cuda=None), 'cpp', 'cpu', 'not built'),
        (dict(cpp='off', cuda='not built'), 'cuda', 'meta', 'not built'),
    ]:
        monkeypatch.setattr(library, 'MISSING', missing)
        assert words in operator.reason(backend, dict(features=x.to(device), window_size=1))
    monkeypatch.setattr(library, 'MISSING', dict(cpp=None, cuda='not built'))
    for backend, device in [('cpp', 'cpu'), ('cpp', 'meta'), ('cuda', 'meta')]:
        assert operator.reason(backend, dict(features=x.to(device), window_size=1)) is None


@needs_triton
def test_largest_windows_of_gpu_kernels(monkeypatch):
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})

    def reasons(backend, channels, window_size):
        x = torch.empty(1, 1, channels, 1, 1, device='meta')
        return [dispatch.OPERATORS[f'varied-size window {name}'].reason(backend, {key: x, 'window_size': window_size})
                for name, key in (('sampling', 'features'), ('attention', 'q'))]

    fitting = [('cpp', 999, 32), ('cuda', 999, 256), ('triton', 128, 8)]
    assert [reasons(*sizes) for sizes in fitting] == [[None, None]] * len(fitting)
    assert reasons('cpp', 1, 256)[0] is None
    for sizes, words in [(('cuda', 1, 257), ['window_size', '256', '257']),
                         (('triton', 128, 9), ['window_size', '8', '9']), (('triton', 129, 8), ['128', '129'])]:
        assert all(word in reason for reason in reasons(*sizes) for word in words)


@needs_triton
@pytest.mark.parametrize('q, v, words', [
    ((1, 2, 16), (1, 2, 16), ['4 or 5 dimensions', '3']), ((1, 1, 1, 1, 2, 16), (1, 1, 1, 1, 2, 16), ['4 or 5', '6']),
    ((1, 1, 2, 16), (1, 1, 2, 15), ['16', '15']), ((1, 1, 2, 16), (1, 1, 2, 17), ['16', '17']),
    ((1, 1, 2, 129), (1, 1, 2, 129), ['128', '129'])])
def test_heads_that_triton_cannot_process(q, v, words):
    q, v = torch.empty(q, device='meta'), torch.empty(v, device='meta')
    reason = dispatch.OPERATORS['residual attention'].reason('triton', dict(q=q, v=v))
    assert all(word in reason for word in words)
    if '129' in words:
        reason = dispatch.OPERATORS['normalized attention'].reason('triton', dict(logits=q, value=v, eps=1e-5))
        assert all(word in reason for word in words)


@needs_triton
def test_dtypes_that_triton_cannot_process():
    x = torch.empty(1, 1, 2, 16, device='meta')
    for logits, value, words in [(x, x.half(), ['float32', 'float16']), (x.half(), x, ['float32', 'float16']),
                                 (x.double(), x.double(), ['float64'])]:
        reason = dispatch.OPERATORS['normalized attention'].reason('triton', dict(logits=logits, value=value, eps=1e-5))
        assert all(word in reason for word in words)


@needs_triton
def test_order_on_gpus(monkeypatch, caplog):
    """Half precision and the meta device prefer Triton. Float32 and float64 prefer CUDA."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(dispatch, 'logged', set())
    kernels = {name: lambda x, name=name: name for name in ('cpp', 'cuda', 'triton')}
    operator = dispatch.Operator('order', lambda x: 'reference', None, like='x', **kernels)

    def chosen(dtype, missing=None, broken=()):
        class OnGpu:
            """Stands for a GPU tensor, with the attributes that select a backend."""
            device, is_cuda, is_meta = torch.device('cuda'), True, False

        OnGpu.dtype = dtype
        monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': missing})
        monkeypatch.setattr(dispatch, 'self_check', lambda _, backend, *__: 'broken' if backend in broken else None)
        monkeypatch.setattr(dispatch, 'checked', {})
        return operator(x=OnGpu)

    monkeypatch.setattr(dispatch, 'SELF_CHECK', True)
    assert chosen(torch.float16) == chosen(torch.bfloat16, 'not built') == 'triton'
    assert chosen(torch.bfloat16, broken=['triton']) == chosen(torch.float32) == chosen(torch.float64) == 'cuda'
    assert chosen(torch.float32, 'not built') == chosen(torch.float32, broken=['cuda']) == 'triton'
    assert chosen(torch.float16, broken=['cuda', 'triton']) == 'reference'
    assert not any('plain PyTorch' in message for message in caplog.messages)
    assert chosen(torch.float64, 'not built') == 'reference'
    assert 'cuda backend is missing: not built' in caplog.messages[-1]
    for dtype, backend in [(torch.float32, 'triton'), (torch.float64, 'cuda')]:
        assert operator(x=torch.empty(1, dtype=dtype, device='meta')) == backend
    monkeypatch.setattr(dispatch, 'self_check', lambda *_: 'broken')
    monkeypatch.setattr(dispatch, 'checked', {})
    assert operator(x=torch.empty(1, device='meta')) == 'triton'  # not checked
    assert operator(x=torch.empty(1)) == 'cpp'


# ---- graphs


@needs_triton
def test_choice_in_graphs(monkeypatch, caplog):
    """Compiled graphs contain Triton kernels, and exported programs do not."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(dispatch, 'logged', set())
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})
    sizes = dict(cpp=1, cuda=2, triton=3)
    kernels = {name: lambda x, size=size: x.new_empty(size) for name, size in sizes.items()}
    operator = dispatch.Operator('graph', lambda x: x.new_empty(4), None, like='x', **kernels)
    x, on_cpu = torch.empty(9, device='meta'), torch.empty(9)

    class Network(torch.nn.Module):
        def forward(self, x):
            return operator(x=x)

    def compiled(x):
        torch._dynamo.reset()
        return len(torch.compile(Network(), fullgraph=True, backend='eager')(x))

    assert compiled(x) == 3 and compiled(on_cpu) == 1
    assert len(torch.export.export(Network(), (x, ), strict=False).module()(x)) == 2
    with dispatch.plain_pytorch():
        assert compiled(x) == compiled(on_cpu) == 4
    assert dispatch.__name__ not in {record.name for record in caplog.records}
    monkeypatch.setattr(library, 'MISSING', {'cpp': 'not built', 'cuda': 'not built'})
    assert compiled(on_cpu) == 4
    assert [record.name for record in caplog.records].count(dispatch.__name__) == 1


def test_kernels_are_checked_while_a_graph_is_compiled(register):
    """The check runs only once, while the graph is traced."""
    calls = []

    def kernel(x):
        calls.append(x.shape)
        return 1 * x

    register(kernel)

    @torch.compile(fullgraph=True, backend='eager')
    def network(x):
        return x + 1 if dispatch.why_not_trusted('operator', 'cpp', x.device, x.dtype) is None else x - 1

    torch._dynamo.reset()
    assert network(torch.zeros(3)).tolist() == network(torch.zeros(3)).tolist() == [1, 1, 1]
    assert len(calls) == 1
