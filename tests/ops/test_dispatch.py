"""Tests in which order operators use their backends."""
from importlib.util import find_spec, module_from_spec
from threading import Thread
from types import ModuleType

import pytest
import torch
from helpers import raises
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from mmvit_backbones.errors import UsageError
from mmvit_backbones.ops import dispatch, library, plain_pytorch, triton, use_kernels
from mmvit_backbones.ops.triton import probe

error_on_gpu = probe.error_on_gpu
needs_triton = pytest.mark.skipif(not triton.IS_INSTALLED, reason='Triton is not installed')


@pytest.fixture(autouse=True)
def own_state(monkeypatch):
    """Registers operators and requests kernels only for the duration of a test; all libraries are compiled."""
    monkeypatch.setattr(dispatch, 'OPERATORS', dict(dispatch.OPERATORS))
    monkeypatch.setattr(dispatch, 'logged', set())
    monkeypatch.setattr(dispatch, 'ran', set())
    monkeypatch.setattr(dispatch, 'requested', None)
    monkeypatch.setattr(library, 'MISSING', {'cpp': None, 'cuda': None})
    monkeypatch.setattr(library, 'error_on_gpu', lambda index: None)
    monkeypatch.setattr(probe, 'error_on_gpu', lambda index: None)


class OnGpu:
    """Stands for a GPU tensor, with the attributes that select a backend."""
    device, is_cuda, is_meta, dtype = torch.device('cuda'), True, False, torch.float32


class HalfOnGpu(OnGpu):
    dtype = torch.bfloat16


def operator_of(is_faster=lambda x: False, **kernels) -> dispatch.Operator:
    """Returns an operator whose results are the names of its backends, unless functions are given."""
    kernels = kernels or {name: lambda x, name=name: name for name in ('cpp', 'cuda', 'triton')}
    reference = kernels.pop('reference', lambda x: 'reference')
    return dispatch.Operator('operator', reference, like='x', **{
        name: dispatch.Kernel(run, is_faster=is_faster) for name, run in kernels.items()})


def chosen(operator: dispatch.Operator) -> tuple:
    """Returns the backends on a CPU, on a GPU and for meta tensors."""
    return tuple(operator(x=x) for x in (torch.empty(1), OnGpu, torch.empty(1, device='meta')))


# ---- order


@needs_triton
def test_order_of_the_backends(monkeypatch):
    monkeypatch.setattr(triton.backend, 'INTERPRETED', False)
    operator = operator_of()
    assert chosen(operator) == ('cpp', 'cuda', 'cuda')
    with use_kernels('triton'):
        assert chosen(operator) == ('cpp', 'triton', 'triton')
        assert operator(x=torch.empty(1, device='meta', dtype=torch.float64)) == 'cuda'
    with use_kernels('reference'):
        assert chosen(operator) == ('reference', ) * 3 and operator('cpp', x=torch.empty(1)) == 'cpp'
    monkeypatch.setattr(library, 'MISSING', dict.fromkeys(['cpp', 'cuda'], 'not built'))
    assert chosen(operator) == ('reference', ) * 3


@needs_triton
def test_kernels_without_deterministic_gradients_are_skipped():
    operator = operator_of()
    torch.use_deterministic_algorithms(True)
    try:
        assert chosen(operator) == ('cpp', 'reference', 'reference')
        with use_kernels('triton'):
            assert chosen(operator)[1:] == ('triton', 'triton')
    finally:
        torch.use_deterministic_algorithms(False)


@needs_triton
def test_triton_runs_without_a_request_where_it_is_measured_to_be_faster():
    """Meta tensors are like those on a new GPU."""
    operator, x = operator_of(lambda x: len(x) > 4), torch.empty(9, device='meta', dtype=torch.bfloat16)
    assert operator(x=x) == 'triton' and operator(x=x.float()) == operator(x=x[:4]) == 'cuda'
    assert operator(x=torch.empty(9, dtype=torch.bfloat16)) == 'cpp'
    with plain_pytorch():
        assert operator(x=x) == 'reference'
    torch._dynamo.reset()
    assert torch.compile(lambda: operator(x=x), fullgraph=True, backend='eager')() == 'cuda'


@needs_triton
def test_operators_that_run_triton_by_default():
    """Those of ReViT and ReSwin, in large batches; not of ReMViTv2, which adds a bias to whole maps."""
    image, windows = (torch.empty(*lead, 12, n, 32, device='meta', dtype=torch.bfloat16)
                      for lead, n in (((64, ), 197), ((64, 16), 49)))
    for q, bias, backend in [(image, None, 'triton'), (image, image, 'reference'), (image[:1], None, 'reference'),
                             (windows, windows, 'triton'), (windows[:1], None, 'reference'),
                             (windows[..., :40, :], None, 'reference'), (image.float(), None, 'reference')]:
        arguments = dict(q=q, k=q, v=q, prev_logits=None, alpha=0.5, bias=bias, mask=None)
        assert dispatch.OPERATORS['residual attention'].choose(arguments) == backend


# ---- requests


@needs_triton
def test_a_request_holds_in_all_threads_and_ends_with_its_context():
    operator, x, found = operator_of(), torch.empty(1, device='meta'), []
    with use_kernels('triton'):
        with plain_pytorch():
            assert operator(x=x) == 'reference'
        thread = Thread(target=lambda: found.append(operator(x=x)))
        thread.start()
        thread.join()
    assert found == ['triton'] and operator(x=x) == 'cuda'
    request = use_kernels('triton')
    assert operator(x=x) == 'triton'
    for name, backend in (None, 'cuda'), ('reference', 'reference'), (None, 'cuda'):
        use_kernels(name)
        assert operator(x=x) == backend
        with request:
            with request:
                assert operator(x=x) == 'triton'
            assert operator(x=x) == 'triton'
        assert operator(x=x) == backend


def test_recomputed_blocks_run_the_same_kernels():
    calls = []

    def kernel(name):
        def run(x):
            calls.append(name)
            return x.exp()
        return run

    operator, x = operator_of(reference=kernel('reference'), cpp=kernel('cpp')), torch.ones(1, requires_grad=True)
    with use_kernels('reference'):
        checkpoint(lambda x: operator(x=x), x, use_reentrant=False).sum().backward()
    assert calls == ['reference', 'reference']


@pytest.mark.parametrize('kernels', ['cuda', 'Triton', '', 1, True])
def test_wrong_requests_are_refused(kernels):
    with raises(UsageError, 'kernels', repr(kernels), 'triton', 'reference'):
        use_kernels(kernels)
    assert dispatch.requested is None


def imported_again() -> ModuleType:
    """Returns another instance of the module, without a subprocess, whose imports would take seconds."""
    spec = find_spec(dispatch.__name__)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_environment_variable(monkeypatch):
    for value, requested in ('triton', 'triton'), ('', None):
        monkeypatch.setenv('MMVIT_KERNELS', value)
        assert imported_again().requested == requested
    monkeypatch.setenv('MMVIT_KERNELS', 'cuda')
    with raises(UsageError, 'MMVIT_KERNELS must be one of', 'cuda'):
        imported_again()


# ---- log


def test_choices_are_logged_once_and_missing_kernels_are_warnings(monkeypatch, caplog):
    caplog.set_level('INFO')
    operator = operator_of()
    for _ in range(2):
        chosen(operator)
    assert [record.levelname for record in caplog.records] == ['INFO'] * 3
    assert dispatch.backends_in_use(torch.device('cpu')) == {'operator': 'cpp'}
    monkeypatch.setattr(library, 'MISSING', {'cpp': 'not built', 'cuda': 'not built'})
    caplog.clear()
    chosen(operator)
    assert [record.levelname for record in caplog.records] == ['WARNING', 'WARNING', 'INFO']
    assert all('not built' in message for message in caplog.messages[:2])


def test_gpus_that_kernels_are_not_compiled_for_run_the_reference(monkeypatch, caplog):
    monkeypatch.setattr(library, 'error_on_gpu', lambda index: 'compiled for 9.0, not for this GPU')
    operator = operator_of()
    for _ in range(2):
        assert chosen(operator) == ('cpp', 'reference', 'cuda')
    assert [message.endswith('not for this GPU') for message in caplog.messages] == [True]
    with raises(ValueError, 'cuda', 'compiled for 9.0'):
        operator('cuda', x=OnGpu)


def test_a_request_that_cannot_be_met_is_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(triton.backend, 'IS_INSTALLED', False)
    with use_kernels('triton'):
        assert chosen(operator_of())[1] == 'cuda'
    assert 'triton backend cannot run: Triton is not installed' in caplog.messages[-1]


@needs_triton
@pytest.mark.parametrize('requested', ['triton', None])
def test_triton_that_cannot_compile_is_a_warning_and_refuses_requests(monkeypatch, caplog, requested):
    """Kernels are tried with ordinary tensors, also while a graph is traced, and once."""
    tries = []

    def fail(device):
        tries.append(torch.is_grad_enabled() and type(torch.ones(1)) is torch.Tensor)
        raise RuntimeError('no C compiler\n')

    monkeypatch.setattr(probe, 'error_on_gpu', error_on_gpu)
    monkeypatch.setattr(probe, 'run_kernels', fail)
    operator = operator_of(lambda x: True)

    @torch.compile(fullgraph=True, backend='eager')
    def function(x):
        return x + 1 if error_on_gpu(None) else x

    torch._dynamo.reset()
    with use_kernels(requested), torch.no_grad(), FakeTensorMode():
        assert operator(x=HalfOnGpu) == operator(x=HalfOnGpu) == 'cuda'
        probe._error_on_gpu.cache_clear()
    assert function(torch.ones(1)) == 2 and tries == [True, True]
    assert [message for message in caplog.messages if 'no C compiler' in message]
    with raises(ValueError, 'triton', 'no C compiler'):
        operator('triton', x=OnGpu)
    probe._error_on_gpu.cache_clear()


# ---- graphs


@needs_triton
def test_choice_in_graphs(monkeypatch, caplog):
    """Programs are compiled again after a request. They contain kernels, and exported programs do not."""
    sizes = dict(cpp=1, cuda=2, triton=3)
    kernels = {name: lambda x, size=size: x.new_empty(size) for name, size in sizes.items()}
    operator = operator_of(reference=lambda x: x.new_empty(4), **kernels)
    x, on_cpu = torch.empty(9, device='meta'), torch.empty(9)
    monkeypatch.setattr(triton.backend, 'INTERPRETED', False)

    class Network(torch.nn.Module):
        def forward(self, x):
            return operator(x=x)

    torch._dynamo.reset()
    compiled = torch.compile(Network(), fullgraph=True, backend='eager')

    def found():
        return len(compiled(x)), len(compiled(on_cpu))

    assert found() == (2, 1)
    with use_kernels('triton'):
        assert found() == (3, 1)
        for example in x, on_cpu:
            assert len(torch.export.export(Network(), (example, ), strict=False).module()(example)) == 4
    with plain_pytorch():
        assert found() == (4, 4)
    assert found() == (2, 1)
    torch.use_deterministic_algorithms(True)
    try:
        assert found() == (4, 1)
    finally:
        torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(library, 'MISSING', {'cpp': 'not built', 'cuda': 'not built'})
    torch._dynamo.reset()
    caplog.clear()
    assert found() == (4, 4)
    assert [record.name for record in caplog.records].count(dispatch.__name__) == 1
