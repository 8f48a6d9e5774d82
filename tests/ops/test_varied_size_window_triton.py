"""Tests varied-size windows in Triton, on a GPU or in Triton's interpreter, which takes seconds for a few windows.

`make test` runs only the smallest problem, and `make fuzz` more random shapes. ``test_varied_size_window.py`` tests the
goldens.
"""
import os

import pytest
import torch
import torch._dynamo
from varied_size_windows import DEVICES, TOLERANCES, assert_agree, evaluate, problem, sampling_of

from mmvit_backbones.ops import varied_size_window_attention, varied_size_window_sample
from mmvit_backbones.ops.triton import why_not_triton

DEVICE = DEVICES['triton']
why_missing = why_not_triton(torch.empty(1, device=DEVICE))
pytestmark = pytest.mark.skipif(why_missing is not None, reason=f'Triton: {why_missing}')


@pytest.mark.compiler
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_random_shapes(dtype):
    """Most shapes are small, because the interpreter is slow."""
    generator = torch.Generator().manual_seed(int(os.environ.get('FUZZ_SEED', 0)))

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    factor = int(os.environ.get('FUZZ_FACTOR', 1))
    for number in range(6 * factor if factor > 1 else 2):  # a factor of 50 tests 300 shapes
        ws, heads, d, batch = integer(1, 8) if number % 10 == 9 else integer(1, 5), integer(1, 2), integer(1, 40), 1
        height, width = integer(1, ws + 2), integer(1, ws)
        if number % 5 == 4:
            batch = 2 * integer(0, 1)
        pad = integer(0, ws - 1), integer(0, ws - 1)
        grid = (-(-(height + pad[0]) // ws), -(-(width + pad[1]) // ws))
        arguments = problem(batch, heads, d, height, width, ws, pad, grid, dtype, generator)
        # With float64 positions, half precision would deviate, because rounding changes derivatives at whole pixels.
        more = torch.float64 if dtype == torch.float32 else torch.float32
        exact = {key: x.to(more) if isinstance(x, torch.Tensor) else x for key, x in arguments.items()}
        if number % 2:
            arguments['k'] = arguments['k'].contiguous()
        compare(evaluate(arguments, 'triton'), evaluate(exact, 'reference'), dtype)
        compare(evaluate(sampling_of(arguments), 'triton', varied_size_window_sample),
                evaluate(sampling_of(exact), 'reference', varied_size_window_sample), dtype)


def compare(actual: dict, expected: dict, dtype: torch.dtype) -> None:
    """Asserts small deviations relative to a tensor's norm, or to a root mean square of 0.1 for tensors close to 0."""
    for name, x in expected.items():
        loose = 10 if name in ('grad_scale', 'grad_offset') else 1
        error = (actual[name].double() - x).norm() / max(x.norm(), 0.1 * x.numel()**0.5, 1e-9)
        assert actual[name].isfinite().all() and error <= TOLERANCES[dtype] * loose, f'{name}: {error}'


@pytest.mark.compiler
@pytest.mark.parametrize('value', [1e4, float('inf'), float('nan')])
def test_far_outside_and_not_finite(value):
    arguments = problem(1, 1, 3, 4, 8, 4, dtype=torch.float32)
    arguments['offset'][0, 0, 0, 0, 0] = value
    arguments['scale'][0, 0, 1, 0, 0] = value
    result, expected = evaluate(arguments, 'triton'), evaluate(arguments, 'reference')
    assert_agree(result, expected, 1e-4)
    assert not result['out'][..., :4].any() and result['out'][..., 4:].any()


def test_position_one_pixel_before_the_map():
    """The gradient is the slope between this position and the first pixel, as in ``F.grid_sample``."""
    arguments = problem(1, 2, 5, 3, 1, 1, dtype=torch.float32)
    arguments['scale'].zero_()
    arguments['offset'].fill_(-1)
    expected = evaluate(arguments, 'reference')
    assert expected['grad_offset'].any()
    assert_agree(evaluate(arguments, 'triton'), expected, 1e-5)


@pytest.mark.compiler
def test_arguments_of_any_strides():
    """Scale and offset have the layout of a linear layer's output, and k has another layout than q and v."""
    arguments = problem(1, 2, 5, 4, 7, 4, dtype=torch.float32)
    expected = evaluate(arguments, 'reference')
    for name in ('scale', 'offset'):
        arguments[name] = arguments[name].permute(0, 3, 4, 1, 2).contiguous().permute(0, 3, 4, 1, 2)
    arguments.update(k=arguments['k'].contiguous(), bias_table=arguments['bias_table'].T.contiguous().T)
    assert_agree(evaluate(arguments, 'triton'), expected, 1e-5)


@pytest.mark.compiler
def test_operators_are_registered_correctly():
    """Checks schemas, including undeclared writes to arguments, fake implementations, and tracing."""
    from mmvit_backbones.ops.triton import varied_size_window as kernels
    from mmvit_backbones.ops.triton import window_sampling
    arguments = problem(1, 1, 3, 2, 3, 3, dtype=torch.float32)
    q, k, v, scale, offset, bias_table = (
        x.to(DEVICE) for x in arguments.values() if isinstance(x, torch.Tensor))
    window, inputs = (3, 0, 0), (q, k, v, scale, offset, bias_table)
    out, lse = kernels.attention(*inputs, *window, 0.5)
    tokens = kernels.grad(out, *inputs, lse, *window, 0.5)[1]
    keys, order = window_sampling.keys_of_tokens(scale, offset, 2, 3, *window).sort()
    for name, call in [
        ('window_attention', (*inputs, *window, 0.5)),
        ('window_attention_grad', (out, *inputs, lse, *window, 0.5)),
        ('window_keys', (scale, offset, 2, 3, *window)),
        ('window_pixels', (tokens, keys, order, scale, offset, 2, 3, *window, torch.float32)),
        ('window_sample', (k, scale, offset, *window)),
        ('window_grad_scale_offset', (k, v, tokens, scale, offset, *window)),
    ]:
        torch.library.opcheck(
            getattr(torch.ops.mmvit, name).default, call,
            test_utils=('test_schema', 'test_faketensor', 'test_aot_dispatch_dynamic'))


@pytest.mark.compiler
def test_compiles_without_graph_breaks():
    def operator(qkv, scale, offset, bias_table):
        q, k, v = qkv.permute(3, 0, 4, 5, 1, 2).unbind(0)
        return varied_size_window_attention(q, k, v, scale, offset, bias_table, 4, backend='triton')

    torch._dynamo.reset()
    compiled = torch.compile(operator, fullgraph=True, dynamic=True, backend='aot_eager')
    for height, width in [(3, 5), (4, 7)]:
        arguments = problem(1, 1, 9, height, width, 4, dtype=torch.float32)
        qkv = torch.stack([arguments[name] for name in 'qkv']).permute(1, 4, 5, 0, 2, 3)
        leaves = [x.detach().to(DEVICE).requires_grad_() for x in
                  (qkv, arguments['scale'], arguments['offset'], arguments['bias_table'])]
        out = compiled(*leaves)
        out.square().sum().backward()
        torch.testing.assert_close(out, operator(*leaves))


@pytest.mark.compiler
def test_autocast():
    device, tensors = DEVICE, problem(1, 1, 8, 4, 4, 4, dtype=torch.float32)
    arguments = {key: x.to(device) if isinstance(x, torch.Tensor) else x for key, x in tensors.items()}
    expected = varied_size_window_attention(**arguments, backend='reference')
    arguments['q'].requires_grad_()
    with torch.autocast(device, dtype=torch.bfloat16):
        out = varied_size_window_attention(**arguments, backend='triton')
        sampled = varied_size_window_sample(**sampling_of(arguments), backend='triton')
    out.sum().backward()
    assert (out.dtype, sampled.dtype, arguments['q'].grad.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    assert (out.float() - expected).norm() <= 0.03 * expected.norm()
