"""Tests how operators choose a backend."""
import pytest
import torch
from helpers import raises

from mmvit_backbones.ops import dispatch, library
from mmvit_backbones.ops.self_check import Row
from mmvit_backbones.ops.triton import availability

CPU = torch.device('cpu')
needs_triton = pytest.mark.skipif(availability.triton is None, reason='Triton is not installed')


@pytest.fixture
def register(monkeypatch):
    """Returns a function that registers an operator for the duration of a test; its kernel has the name ``cpp``."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})

    def register(kernel):
        return dispatch.Operator('operator', lambda x: 1 * x, None, None, like='x', cpp=kernel)

    return register


# ---- choice


def test_kernels_run_by_default_and_references_where_they_must(register):
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
    """The fastest accepted kernel runs. Unchecked, half precision prefers Triton, and float32 and float64 CUDA."""
    monkeypatch.setattr(dispatch, 'OPERATORS', {})
    monkeypatch.setattr(dispatch, 'logged', set())
    kernels = {name: lambda x, name=name: name for name in ('cpp', 'cuda', 'triton')}
    operator = dispatch.Operator('order', lambda x: 'reference', None, None, like='x', **kernels)
    slow = Row('cuda', 0, (9, 9), 'slow')

    def chosen(dtype, *rows, missing=None):
        class OnGpu:
            """Stands for a GPU tensor, with the attributes that select a backend."""
            device, is_cuda, is_meta = torch.device('cuda'), True, False

        OnGpu.dtype = dtype
        monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': missing})
        operator.rows = {(OnGpu.device, dtype): [Row('reference', seconds=(5, 5)), *rows]}
        return operator(x=OnGpu)

    monkeypatch.setattr(dispatch, 'SELF_CHECK', True)
    cuda, triton = Row('cuda', 0, (2, 2)), Row('triton', 0, (1, 2))
    assert chosen(torch.float16, cuda, triton) == chosen(torch.float32, cuda, triton) == 'triton'
    assert chosen(torch.float16, Row('cuda', 0, (1, 1)), triton) == chosen(torch.float64) == 'cuda'
    assert chosen(torch.float16, slow) == chosen(torch.float32, slow, Row('triton', reason='broken')) == 'reference'
    assert not any('plain PyTorch' in message for message in caplog.messages)
    assert chosen(torch.float64, missing='not built') == 'reference'
    assert 'cuda backend is missing: not built' in caplog.messages[-1]
    monkeypatch.setattr(dispatch, 'SELF_CHECK', False)
    assert chosen(torch.float16, slow) == 'triton' and chosen(torch.float32, slow) == 'cuda'
    monkeypatch.setattr(dispatch, 'SELF_CHECK', True)
    for dtype, backend in [(torch.float32, 'triton'), (torch.float64, 'cuda')]:
        assert operator(x=torch.empty(1, dtype=dtype, device='meta')) == backend
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
    operator = dispatch.Operator('graph', lambda x: x.new_empty(4), None, None, like='x', **kernels)
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
