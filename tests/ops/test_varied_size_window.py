"""Tests varied-size windows: goldens, agreement of the backends, integration with PyTorch, and errors."""
import os
from collections.abc import Callable

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from helpers import raises
from torch.utils._python_dispatch import TorchDispatchMode
from varied_size_windows import (
    DEVICES,
    TOLERANCES,
    assert_agree,
    deviations,
    evaluate,
    golden_cases,
    golden_inputs,
    problem,
    sampling_of,
)

from mmvit_backbones.ops import (
    library,
    varied_size_window,
    varied_size_window_attention,
    varied_size_window_sample,
)


def why_missing(backend: str) -> str | None:
    reason = library.MISSING.get(backend)
    if backend == 'cuda' and reason is None and not torch.cuda.is_available():
        return 'no GPU'
    return reason


def mark(backend: str) -> pytest.MarkDecorator:
    why = why_missing(backend)
    return pytest.mark.skipif(why is not None, reason=f'backend {backend!r}: {why}')


def backends(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize('backend', [pytest.param(name, marks=mark(name)) for name in names])


every_backend = backends('reference', 'cpp', 'cuda')
every_compiled_backend = backends('cpp', 'cuda')
each_operator = pytest.mark.parametrize('operator', [varied_size_window_attention, varied_size_window_sample])


def arguments_of(operator: Callable, arguments: dict) -> dict:
    """Returns the arguments of the attention for the attention, and those of its sampling for the sampling."""
    return arguments if operator is varied_size_window_attention else sampling_of(arguments)


def on_device(arguments: dict, backend: str) -> dict:
    return {name: x.to(DEVICES[backend]) if torch.is_tensor(x) else x for name, x in arguments.items()}


# ---- goldens


def each_golden(operator: str) -> pytest.MarkDecorator:
    cases = [pytest.param(case, rtol, id=case['name']) for case, rtol in golden_cases(operator)]
    return pytest.mark.parametrize('case, rtol', cases)


@every_backend
@each_golden('vsa_sampling')
def test_golden_sampling(case, rtol, backend):
    inputs = golden_inputs(case)
    features, scale, offset, grad = (inputs[k][None].to(DEVICES[backend]).double()
                                     for k in ('features', 'scale', 'offset', 'grad_output'))
    out = varied_size_window_sample(features, scale, offset, case['window_size'], case['pad'], backend)[0]
    (out * grad[0]).sum().backward()
    actual = {'sampled': out, **{f'grad_{name}': x.grad for name, x in inputs.items() if name != 'grad_output'}}
    worst = deviations(case, actual)
    assert max(worst.values()) <= rtol, worst


@every_backend
@each_golden('vsa_attention_core')
def test_golden_core(case, rtol, backend):
    inputs = golden_inputs(case)
    tensors = {name: x.to(DEVICES[backend]).double() for name, x in inputs.items()}
    maps = [tensors[k].unflatten(0, (case['batch'], case['heads'])) for k in ('q', 'k', 'v', 'scale', 'offset')]
    out = varied_size_window_attention(*maps, tensors['bias_table'], case['window_size'], case['pad'],
                                       case['softmax_scale'], backend).flatten(0, 1)
    (out * tensors['grad_output']).sum().backward()
    actual = {'out': out, **{f'grad_{name}': x.grad for name, x in inputs.items() if name != 'grad_output'}}
    worst = deviations(case, actual)
    assert max(worst.values()) <= rtol, worst


# ---- the backends agree


def random_problem(generator: torch.Generator, dtype: torch.dtype = torch.float64) -> dict:
    """Returns random arguments: batches of 0 to 2, window sizes of 1 to 8, windows inside and outside the map."""

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    ws, heads, d, batch = integer(1, 8), integer(1, 3), integer(1, 36), integer(0, 2)
    height, width = integer(1, 20), integer(1, 20)
    pad = (integer(0, ws - 1), integer(0, ws - 1))
    grid = (-(-(height + pad[0]) // ws), -(-(width + pad[1]) // ws))
    return problem(batch, heads, d, height, width, ws, pad, grid, dtype, generator)


@every_compiled_backend
def test_random_shapes(backend):
    generator = torch.Generator().manual_seed(int(os.environ.get('FUZZ_SEED', 0)))
    for _ in range(200 * int(os.environ.get('FUZZ_FACTOR', 1))):
        arguments = random_problem(generator)
        assert_agree(evaluate(arguments, backend), evaluate(arguments, 'reference'), 1e-8)
        sampling = sampling_of(arguments)
        assert_agree(evaluate(sampling, backend, varied_size_window_sample),
                     evaluate(sampling, 'reference', varied_size_window_sample), 1e-8)


each_size = pytest.mark.parametrize('sizes', [
    (2, 2, 32, 14, 21, 7), (1, 2, 64, 14, 14, 7), (1, 1, 32, 24, 30, 12), (1, 2, 13, 9, 10, 5)],
    ids=['usual', 'wide', 'large_window', 'odd'])


@every_compiled_backend
@each_size
@each_operator
@pytest.mark.parametrize('dtype', TOLERANCES, ids=str)
def test_dtypes(backend, sizes, operator, dtype):
    arguments = arguments_of(operator, problem(*sizes, dtype=dtype))
    exact = {key: x.double() if isinstance(x, torch.Tensor) else x for key, x in arguments.items()}
    expected = evaluate(exact, 'reference', operator)
    actual = evaluate(arguments, backend, operator)
    assert all(actual[name].dtype == dtype for name in expected)
    # Positions in float32 deviate by 1e-6 pixels, which changes the gradients of positions near whole pixels.
    loose = {'grad_scale', 'grad_offset'}
    for name, x in expected.items():
        error = (actual[name].double() - x).norm() / x.norm()
        assert error <= TOLERANCES[dtype] * (10 if name in loose else 1), f'{name}: {error}'


@every_compiled_backend
@pytest.mark.parametrize('window_size, channels', [(32, 2), (4, 311)])
def test_largest_windows(backend, window_size, channels):
    arguments = problem(1, 1, channels, window_size, window_size, window_size, dtype=torch.float32)
    assert_agree(evaluate(arguments, backend), evaluate(arguments, 'reference'), 1e-3)


@every_backend
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=str)
def test_far_outside_and_not_finite(backend, dtype):
    """Windows outside the map have keys and values of 0, so that outputs and gradients of positions are 0."""
    arguments = problem(1, 1, 8, 14, 35, 7, dtype=dtype)
    windows = [1e4, -1e4, 3e38, float('inf'), float('nan')]
    arguments['offset'][0, 0, 0, 0] = torch.tensor(windows, dtype=dtype)
    result = evaluate(arguments, backend)
    for name, x in result.items():
        assert x.isfinite().all(), name
    assert not result['out'][..., :7, :].any() and not result['grad_offset'][..., 0, :].any()
    assert not result['grad_scale'][..., 0, :].any() and result['grad_offset'][..., 1, :].any()
    sampled = evaluate(sampling_of(arguments), backend, varied_size_window_sample)
    assert not sampled['out'][..., :7, :].any() and sampled['grad_features'].isfinite().all()


@every_compiled_backend
def test_any_strides(backend):
    """Channels first, channels last and slices with gaps give the same results; gradients may be expanded tensors."""
    arguments = problem(2, 2, 8, 10, 13, 4)
    expected = evaluate(arguments, backend)
    names = ('q', 'k', 'v')
    gaps = torch.randn(2, 2, 16, 20, 26, dtype=torch.float64)[:, :, ::2, ::2, ::2]
    gaps.copy_(arguments['k'])
    layouts = [
        {name: arguments[name].contiguous() for name in names},
        {name: arguments[name].permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2) for name in names},
        {'k': gaps, 'offset': arguments['offset'].transpose(3, 4).contiguous().transpose(3, 4)},
    ]
    for layout in layouts:
        tensors = on_device({**arguments, **layout}, backend)
        assert torch.equal(varied_size_window_attention(**tensors, backend=backend).cpu(), expected['out'])
    leaf = arguments['q'].detach().to(DEVICES[backend]).requires_grad_()
    tensors = on_device(arguments, backend)
    varied_size_window_attention(**{**tensors, 'q': leaf}, backend=backend).sum().backward()  # expanded gradient
    assert leaf.grad.isfinite().all()


@every_compiled_backend
@pytest.mark.parametrize('sizes', [(2, 2, 8, 10, 13, 4, (1, 2), (4, 5)), (1, 3, 5, 7, 7, 7)], ids=['padded', 'odd'])
def test_packed_projection(backend, sizes):
    """A network's projection needs no copies. Its gradient is the same as that of separate maps, also behind gaps."""
    arguments = problem(*sizes, dtype=torch.float32)
    expected = evaluate({**arguments, 'softmax_scale': 0.4}, backend)
    names, (heads, d), device = ('scale', 'offset', 'bias_table'), sizes[1:3], DEVICES[backend]
    packed = torch.stack([arguments[name] for name in 'qkv']).permute(1, 4, 5, 0, 2, 3).flatten(3).to(device)
    leaves = [arguments[name].detach().to(device).requires_grad_() for name in names]
    grad = torch.randn(expected['out'].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for front in 0, 1:
        x = F.pad(packed, (front, 0))[..., front:].requires_grad_()
        out = varied_size_window.packed_attention(x, *leaves, arguments['window_size'], arguments['pad'], 0.4)
        out = out.unflatten(3, (heads, d)).permute(0, 3, 4, 1, 2)
        of_packed, *others = torch.autograd.grad(out, [x, *leaves], grad.to(out))
        gradients = *of_packed.unflatten(3, (3, heads, d)).permute(3, 0, 4, 5, 1, 2), *others
        actual = {f'grad_{name}': x.cpu() for name, x in zip((*'qkv', *names), gradients)}
        assert_agree({'out': out.detach().cpu(), **actual}, expected, 1e-4)


@every_compiled_backend
def test_more_elements_than_32_bit_integers_can_index(backend):
    """Tests strides that reach beyond 2^31 elements, and a map with more than 2^31 elements.

    These tensors need little memory, because most of their elements are never accessed. An output of this size is not
    tested, because all of its elements would be written.
    """
    side = 46368  # its square is larger than 2^31
    memory = torch.empty(side**2, device=DEVICES[backend])  # float32, because the C++ backend would copy half precision
    arguments = problem(1, 1, 8, 7, 7, 7, dtype=torch.float32)
    row = 2**31 // 6 + 1  # the seventh row begins beyond 2^31 elements
    apart = {name: memory[8 * i:].as_strided((1, 1, 8, 7, 7), (1, 1, 1, row, 24)).copy_(arguments[name])
             for i, name in enumerate('qkv')}
    assert_agree(evaluate({**arguments, **apart}, backend), evaluate(arguments, backend), 1e-4)

    features, corner = memory.view(1, 1, 1, side, side), torch.randn(7, 7)
    features[..., -7:, -7:] = corner.to(features.device)
    zeros = torch.zeros(1, 1, 2, 1, 1, device=features.device)
    sampled = varied_size_window_sample(features, zeros, zeros + side - 7, 7, backend=backend)
    assert torch.equal(sampled[0, 0, 0].cpu(), corner)


@backends('cpp')
def test_results_do_not_depend_on_the_number_of_threads(backend):
    arguments = problem(1, 2, 16, 20, 26, 7, dtype=torch.float32, spread=3)
    sampling, threads, results = sampling_of(arguments), torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append((evaluate(arguments, backend), evaluate(sampling, backend, varied_size_window_sample)))
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(*results):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@backends('cuda')
def test_cuda_kernels_refuse_deterministic_algorithms(backend, deterministic):
    sampling = sampling_of(problem(1, 2, 16, 14, 21, 7, dtype=torch.float32))
    with pytest.raises(RuntimeError, match='does not have a deterministic implementation'):
        evaluate(sampling, backend, varied_size_window_sample)


class RecordedNames(TorchDispatchMode):
    """Records the names of PyTorch's operators."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.found.add(function.name())
        return function(*args, **(kwargs or {}))


@each_operator
def test_sampling_has_deterministic_gradients_on_gpus(operator, deterministic):
    """PyTorch's ``grid_sample`` has none. Meta tensors run the same functions as tensors on a GPU."""
    arguments = arguments_of(operator, problem(1, 2, 16, 14, 21, 7, dtype=torch.float32))
    tensors = {key: x.detach().to('meta').requires_grad_() for key, x in arguments.items() if torch.is_tensor(x)}
    with RecordedNames() as names:
        operator(**{**arguments, **tensors}).sum().backward()
    assert not any('grid_sampler' in name for name in names.found) and any('index_add' in name for name in names.found)
    if torch.cuda.is_available():
        tensors = {key: x.detach().to('cuda').requires_grad_() for key, x in arguments.items() if torch.is_tensor(x)}
        operator(**{**arguments, **tensors}).sum().backward()  # would raise PyTorch's error


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16], ids=str)
@each_operator
def test_pixels_are_gathered_like_grid_sample(operator, dtype, monkeypatch):
    """The windows lie inside, at the edges and outside of the map; one position is not a number."""
    generator = torch.Generator().manual_seed(0)
    arguments = problem(2, 3, 5, 8, 10, 3, (1, 0), dtype=dtype, generator=generator)
    arguments['offset'].data[0, 0, 0, 0, :2] = torch.tensor([float('nan'), 1e9])
    arguments = arguments_of(operator, arguments)
    expected = evaluate(arguments, 'reference', operator)
    monkeypatch.setattr(varied_size_window, 'needs_gathers', lambda *tensors: True)
    assert_agree(evaluate(arguments, 'reference', operator), expected, TOLERANCES[dtype])


@every_compiled_backend
@each_operator
def test_second_derivatives_need_plain_pytorch(operator, backend):
    tensors = on_device(arguments_of(operator, problem(1, 1, 3, 5, 7, 3)), backend)
    offset = tensors['offset'].detach().requires_grad_()
    out = operator(**{**tensors, 'offset': offset}, backend=backend)
    grad, = torch.autograd.grad(out.square().sum(), offset, create_graph=True)
    with pytest.raises(RuntimeError, match='plain_pytorch'):
        grad.sum().backward()


# ---- integration with PyTorch


def has_kernel_of_windows() -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key('mmvit::vsa_windows', 'CPU')


@every_compiled_backend
@pytest.mark.parametrize('sizes', [(1, 2, 8, 10, 13, 4), (0, 1, 4, 5, 5, 3)], ids=str)
def test_opcheck(backend, sizes):
    arguments = problem(*sizes, pad=(1, 0), grid=(4, 4), dtype=torch.float32)
    tensors = {key: x.detach().to(DEVICES[backend]).requires_grad_()
               for key, x in arguments.items() if isinstance(x, torch.Tensor)}
    ws = arguments['window_size']
    if backend == 'cpp':
        torch.library.opcheck(torch.ops.mmvit.vsa_attention.default, (*tensors.values(), ws, 1, 0, 0.5))
    sampling = [tensors[name] for name in ('k', 'scale', 'offset')]
    torch.library.opcheck(torch.ops.mmvit.vsa_sample.default, (*sampling, ws, 1, 0))


@every_compiled_backend
@pytest.mark.parametrize('batch', [2, 0])
def test_windows_opcheck(backend, batch):
    """On a CPU, only meta tensors have a kernel, and the emulated kernels of test_cuda_kernels.py."""
    if backend == 'cpp' and not has_kernel_of_windows():
        pytest.skip('no kernel for this device')
    arguments = problem(batch, 2, 8, 10, 13, 4, pad=(1, 0), grid=(4, 4), dtype=torch.float32)
    qkv = torch.stack([arguments[name].permute(0, 3, 4, 1, 2) for name in 'qkv'], 3)
    tensors = [x.detach().to(DEVICES[backend]).requires_grad_() for x in (qkv, arguments['scale'], arguments['offset'])]
    torch.library.opcheck(torch.ops.mmvit.vsa_windows.default, (*tensors, 4, 1, 0))


@every_compiled_backend
@pytest.mark.filterwarnings('ignore:TensorFloat32 tensor cores')  # Inductor's advice on GPUs
def test_operator_compiles_into_one_dynamic_graph(backend):
    # On GPUs, queries are padded by PyTorch: with aot_eager, padding by zero pixels in dynamic shapes has other strides
    # than the graph expects (torch.compile(lambda x, n: F.pad(x, (0, 0, 0, n - x.shape[1])).reshape(-1, 4, 12))).
    counter = torch._dynamo.testing.CompileCounterWithBackend('aot_eager' if backend == 'cpp' else 'inductor')

    def operator(qkv, scale, offset, bias_table):
        q, k, v = qkv.permute(3, 0, 4, 5, 1, 2)
        return varied_size_window_attention(q, k, v, scale, offset, bias_table, 4, backend=backend)

    torch._dynamo.reset()
    compiled = torch.compile(operator, fullgraph=True, dynamic=True, backend=counter)
    for height, width in [(20, 28), (16, 24), (12, 36)]:
        arguments = problem(2, 6, 9, height, width, 4, dtype=torch.float32)  # all sizes of the first problem differ
        qkv = torch.stack([arguments[name] for name in 'qkv']).permute(1, 4, 5, 0, 2, 3)
        leaves = [x.detach().to(DEVICES[backend]).requires_grad_() for x in
                  (qkv, arguments['scale'], arguments['offset'], arguments['bias_table'])]
        out = compiled(*leaves)
        torch.testing.assert_close(out, operator(*leaves))
        out.square().sum().backward()
    assert counter.frame_count == 1


@every_backend
def test_autocast(backend):
    """Attention runs in bfloat16, sampling in the dtype of its features, and positions are in float32."""
    device = DEVICES[backend]
    arguments = on_device(problem(1, 2, 8, 14, 14, 7, dtype=torch.float32), backend)
    expected = varied_size_window_attention(**arguments, backend=backend)
    with torch.autocast(device, dtype=torch.bfloat16):
        out = varied_size_window_attention(**arguments, backend=backend)
        sampled = varied_size_window_sample(**sampling_of(arguments), backend=backend)
        half = {**sampling_of(arguments), 'features': arguments['k'].bfloat16()}
        sampled_half = varied_size_window_sample(**half, backend=backend)
    assert out.dtype == torch.bfloat16 and sampled.dtype == torch.float32 and sampled_half.dtype == torch.bfloat16
    assert (out.float() - expected).norm() <= 0.01 * expected.norm()
    far = {**sampling_of(arguments), 'features': torch.arange(1000., device=device).expand(1, 1, 1, 1, 1000).bfloat16()}
    far.update({key: torch.zeros(1, 1, 2, 1, 143, device=device) for key in ('scale', 'offset')})
    with torch.autocast(device, dtype=torch.bfloat16):
        row = varied_size_window_sample(**far, backend=backend)[0, 0, 0, 0, :1000]
    assert torch.equal(row, far['features'][0, 0, 0, 0])


# ---- wrong arguments and missing backends


@pytest.mark.parametrize('change, words', [
    *[(dict(q=torch.zeros(shape)), ['q must be', shape]) for shape in [(1, 2, 10, 13), (1, 2, 8, 10, 13, 1)]],
    *[(dict(scale=torch.zeros(shape), offset=torch.zeros(shape)), ['scale', 'offset', shape]) for shape in [
        (2, 2, 2, 3, 4), (1, 1, 2, 3, 4), (1, 3, 2, 3, 4), (1, 2, 1, 3, 4), (1, 2, 3, 3, 4), (1, 2, 2, 12),
        (1, 2, 2, 3, 4, 1)]],
    *[({name: torch.zeros(shape)}, ['scale', 'offset', shape]) for name in ('scale', 'offset')
      for shape in [(1, 2, 2, 3, 3), (1, 2, 2, 3, 5)]],
    *[({name: torch.zeros(1, 2, channels, 10, 13)}, ['same shape', f'(1, 2, {channels}, 10, 13)'])
      for name in ('k', 'v') for channels in (7, 9)],
    *[(dict(bias_table=torch.zeros(shape)), ['bias_table', '(49, 2)', shape])
      for shape in [(48, 2), (50, 2), (49, 1), (49, 3)]],
    (dict(window_size=0), ['window_size', '0']),
    (dict(pad=(3, 0)), ['pad + H', '3 + 10', '3 windows', 'window_size 4']),
    (dict(pad=(0, 4)), ['pad + W', '4 + 13', '4 windows', 'window_size 4']),
    *[(dict(pad=pad), ['pad', pad]) for pad in [(-1, 0), (0, -1), (0, ), (0, 0, 0)]],
    (dict(backend='metal'), ['backend', 'metal', 'reference']),
], ids=lambda value: ' '.join(value) if isinstance(value, dict) else '')
def test_wrong_arguments(change, words):
    arguments = problem(1, 2, 8, 10, 13, 4, dtype=torch.float32)
    with raises(ValueError, *words):
        varied_size_window_attention(**{**arguments, **change})


def test_wrong_dtypes():
    arguments = problem(1, 2, 8, 10, 13, 4, dtype=torch.float32)
    for name in 'kv':
        with raises(TypeError, 'same dtype', 'float64'):
            varied_size_window_attention(**{**arguments, name: arguments[name].double()})
    with raises(TypeError, 'float16', 'int64'):
        varied_size_window_sample(**{**sampling_of(arguments), 'features': arguments['k'].long()})


@backends('cpp')
def test_windows_that_are_too_large_for_a_backend(backend):
    features, zeros = torch.ones(1, 1, 1, 257, 257), torch.zeros(1, 1, 2, 1, 1)
    with raises(ValueError, backend, 'window_size', '256', '257'):
        varied_size_window_sample(features, zeros, zeros, 257, backend=backend)
    torch.testing.assert_close(varied_size_window_sample(features, zeros, zeros, 257), features)
    arguments = problem(1, 1, 2, 5, 5, 33)
    with raises(ValueError, backend, 'window_size', '32', '33'):
        varied_size_window_attention(**arguments, backend=backend)
    expected = varied_size_window_attention(**arguments, backend='reference')
    torch.testing.assert_close(varied_size_window_attention(**arguments), expected)


@backends('cpp')
def test_operators_check_their_arguments(backend):
    arguments = problem(1, 2, 8, 10, 13, 4, dtype=torch.float32)
    tensors = {key: x.to(DEVICES[backend]) for key, x in arguments.items() if isinstance(x, torch.Tensor)}
    for name in tensors:
        wrong = {**tensors, name: tensors[name][:, 1:]}
        with pytest.raises(RuntimeError):
            torch.ops.mmvit.vsa_attention(*wrong.values(), 4, 0, 0, 1.)
