"""Tests that Triton kernels agree with plain PyTorch, on a GPU or in Triton's interpreter."""
import os
import random

import pytest
import torch
import torch._dynamo
import torch.nn.functional as F
from functorch.compile import make_boxed_func
from helpers import raises
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from mmvit_backbones.ops import triton, use_kernels
from mmvit_backbones.ops.residual_attention import residual_attention
from mmvit_backbones.ops.triton import probe

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
pytestmark = pytest.mark.skipif(not (DEVICE.type == 'cuda' or triton.INTERPRETED),
                                reason='needs a GPU or TRITON_INTERPRET=1')
SEED = int(os.environ.get('FUZZ_SEED', 0))
FACTOR = int(os.environ.get('FUZZ_FACTOR', 1))  # a factor of 50 tests 300 shapes
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
TOLERANCES = dict(zip(DTYPES, (1e-5, 1e-2, 6e-2)))  # relative to the largest element of the reference in float64


def size(rng, largest):
    """Returns a random size, usually small, sometimes larger than a kernel's block."""
    return rng.randint(1, largest if rng.random() < 0.2 else 9)


def layout(rng):
    """Returns a function that keeps a tensor, surrounds it with NaN, or swaps its dimensions 1 and 2 in memory."""
    return rng.choice([
        lambda x: x, lambda x: F.pad(x, (1, 2, 3, 0), value=torch.nan)[..., 3:, 1:-2],
        lambda x: x.transpose(1, 2).contiguous().transpose(1, 2)])


def residual_attention_case(rng):
    """Returns a random case with or without windows. The function concatenates both results into one tensor."""
    n, m, d = size(rng, 90), size(rng, 60), size(rng, 128)
    lead = rng.randint(0, 2), *rng.choice([(), (rng.randint(1, 3), )]), rng.randint(1, 2)
    place, (learned, has_prev, has_bias, has_mask) = layout(rng), (rng.random() < 0.6 for _ in range(4))
    prev = torch.randn(rng.choice([(*lead, n, m), (*lead[:-1], 1, n, m)]))
    bias, mask = torch.randn(rng.choice([(*lead, n, m), (lead[-1], n, m)])), torch.randn(*lead[1:-1], 1, n, m)

    def function(q, k, v, prev, bias, alpha, backend):
        out, logits = residual_attention(
            place(q), place(k), place(v), prev_logits=place(prev) if has_prev else None,
            alpha=alpha if learned else 0.3, bias=bias if has_bias else None, mask=mask.to(q) if has_mask else None,
            backend=backend)
        return torch.cat([out.flatten(), logits.flatten(), 0. * (prev.sum() + bias.sum() + alpha)[None]])

    return function, (torch.randn(*lead, n, d), torch.randn(*lead, m, d), torch.randn(*lead, m, d), prev, bias,
                      torch.tensor(0.7))


def window_case(rng):
    """Returns a case whose windows are processed as a whole in half precision."""
    n, d, (has_prev, has_bias, has_mask) = rng.choice([16, 25, 49]), size(rng, 32), (rng.random() < 0.7 for _ in 'abc')
    lead = rng.randint(1, 2), rng.randint(1, 3), rng.randint(1, 2)
    mask = torch.randn(lead[1], 1, n, n)

    def function(q, k, v, prev, bias, alpha, backend):
        out, logits = residual_attention(
            q, k, v, prev_logits=prev if has_prev else None, alpha=alpha, bias=bias if has_bias else None,
            mask=mask.to(q) if has_mask else None, backend=backend)
        return torch.cat([out.flatten(), logits.flatten(), 0. * (prev.sum() + bias.sum() + alpha)[None]])

    return function, (*torch.randn(3, *lead, n, d), torch.randn(*lead, n, n), torch.randn(lead[2], n, n),
                      torch.tensor(0.7))


@pytest.mark.compiler
@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize('case, count', [(residual_attention_case, 6), (window_case, 3)])
def test_agrees_on_random_shapes(case, count, dtype):
    for number in range(count * FACTOR):
        rng = random.Random(f'{case.__name__} {SEED} {number}')
        torch.manual_seed(rng.randint(0, 2**30))
        function, inputs = case(rng)
        inputs = [x.bfloat16() for x in inputs]  # so that all dtypes get the same values

        def run(backend, device, dtype, noise=0):
            x = [x.to(device, dtype) for x in inputs]
            x = [(x + noise * (2 * torch.rand_like(x) - 1) * x.abs().clamp_min(1)).requires_grad_() for x in x]
            out = function(*x, backend=backend)
            weight = torch.linspace(-1, 1, out.numel(), device=device).view_as(out).bfloat16()
            return [out, *torch.autograd.grad(out, x, weight.to(dtype))]

        if inputs[0].numel():
            assert agrees(run, dtype), number
        else:
            assert run('triton', DEVICE, dtype)[0].shape == run('reference', DEVICE, dtype)[0].shape


def agrees(run, dtype):
    """Returns whether a kernel's deviations are at most its tolerance or four times the reference's rounding errors.

    The tolerance alone is too strict where sums cancel, as in the gradient of alpha. Rounding errors are estimated by
    the reference in the kernel's dtype, and by the reference in float64 with random noise on the inputs. Inputs below 1
    get the noise of an input of 1, because the exponential of a small logit is close to 1 and rounded accordingly.
    """
    exact, actual = run('reference', DEVICE, torch.float64), run('triton', DEVICE, dtype)
    if all((a - e).abs().max() <= TOLERANCES[dtype] * e.abs().max() for a, e in zip(actual, exact)):
        return True
    others = [run('reference', DEVICE, dtype),
              *(run('reference', DEVICE, torch.float64, torch.finfo(dtype).eps / 2) for _ in range(3))]
    return all((a - e).abs().max() <= max(*(4 * (o - e).abs().max() for o in other),
                                          TOLERANCES[dtype] * e.abs().max())
               for e, a, *other in zip(exact, actual, *others))


@pytest.mark.compiler
@pytest.mark.parametrize('case', [residual_attention_case, window_case])
def test_compiled_graphs_contain_the_kernels_and_exported_programs_do_not(case):
    """Meta tensors use Triton, like tensors on a GPU."""
    cases = (case(random.Random(seed)) for seed in range(9))
    function, inputs = next((function, inputs) for function, inputs in cases if inputs[0].numel())
    inputs, compiled = [x.to('meta', torch.float16).requires_grad_() for x in inputs], []

    def record(graph, example_inputs):
        compiled.append(str(graph.graph))
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    backend = aot_autograd(fw_compiler=record, bw_compiler=record)

    class Network(nn.Module):
        def forward(self, *inputs):
            return function(*inputs, backend=None)

    with use_kernels('triton'):
        torch.compile(function, backend=backend, fullgraph=True)(*inputs, backend=None).sum().backward()
        assert len(compiled) == 2 and all('mmvit' in graph for graph in compiled)
        with torch.no_grad():
            torch.compile(function, backend=backend, fullgraph=True)(*inputs, backend=None)
        assert len(compiled) == 3 and 'mmvit' in compiled[2]
        for strict in (False, True):
            exported = str(torch.export.export(Network(), tuple(inputs), strict=strict).graph)
            assert 'mmvit' not in exported


@pytest.mark.compiler
@pytest.mark.filterwarnings('ignore::RuntimeWarning')  # of a row without keys, in Triton's interpreter
@pytest.mark.parametrize('excluded', [slice(0, 40), slice(40, None)], ids=str)
def test_keys_that_a_mask_excludes(excluded):
    """Also all keys of the first blocks; a row without any key is NaN, as in plain PyTorch."""
    q, weight = torch.randn(2, 1, 2, 70, 16, device=DEVICE)
    mask = torch.zeros(1, 70, 70, device=DEVICE)
    mask[:, :50, excluded] = -torch.inf

    def run(backend, mask):
        x = q.clone().requires_grad_()
        out, _ = residual_attention(x, x, x, prev_logits=None, alpha=0.5, mask=mask, backend=backend)
        return [out, *torch.autograd.grad(out, x, weight)]

    for actual, expected in zip(run('triton', mask), run('reference', mask)):
        torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    mask[:, 1] = -torch.inf
    actual, expected = run('triton', mask)[0], run('reference', mask)[0]
    assert actual[:, :, 1].isnan().all()
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4, equal_nan=True)


def test_a_mask_that_requires_a_gradient_gets_one():
    q, mask = torch.randn(1, 2, 5, 16, device=DEVICE), torch.zeros(2, 5, 5, device=DEVICE, requires_grad=True)
    with use_kernels('triton'):
        residual_attention(q, q, q, prev_logits=None, alpha=0.5, mask=mask)[0].square().sum().backward()
    assert mask.grad is not None and mask.grad.any()
    with raises(ValueError, 'mask', 'gradient'):
        residual_attention(q, q, q, prev_logits=None, alpha=0.5, mask=mask, backend='triton')
    with torch.no_grad():
        residual_attention(q, q, q, prev_logits=None, alpha=0.5, mask=mask, backend='triton')


def test_second_derivatives_need_plain_pytorch():
    cases = (residual_attention_case(random.Random(seed)) for seed in range(9))
    function, inputs = next((function, inputs) for function, inputs in cases if inputs[0].numel())
    inputs = [x.to(DEVICE).requires_grad_() for x in inputs]
    loss = function(*inputs, backend='triton').square().sum()
    gradients = torch.autograd.grad(loss, inputs, create_graph=True)
    with pytest.raises(RuntimeError, match='plain_pytorch'):
        sum(x.square().sum() for x in gradients).backward()


def test_operators_are_registered_correctly():
    from mmvit_backbones.ops.triton import residual_attention as residual
    q, k, bias = (torch.randn(1, 2, 3, n, m, device=DEVICE) for n, m in ((5, 4), (6, 4), (5, 6)))
    alpha = torch.full((), 0.5, device=DEVICE)
    out, logits, lse = residual.forward(q, k, k, bias, alpha, bias, None)
    x, prev = torch.randn(1, 2, 3, 16, 4, device=DEVICE).half(), torch.randn(1, 2, 3, 16, 16, device=DEVICE).half()
    of_window = residual.forward(x, x, x, prev, alpha, None, None)
    for name, call in [
        ('residual_attention', (x, x, x, prev, alpha, None, None)),
        ('residual_attention_grad_rows', (x, x, x, prev, alpha, None, *of_window, x, None)),
        ('residual_attention', (q, k, k, None, alpha, bias, None)),
        ('residual_attention_grad_rows', (q, k, k, bias, alpha, None, out, logits, lse, q, logits)),
        ('residual_attention_grad_keys', (q, k, k, alpha, None, True, logits, lse, q, logits)),
    ]:
        operator = getattr(torch.ops.mmvit, name).default
        torch.library.opcheck(operator, call, test_utils=('test_schema', 'test_faketensor'))


@pytest.mark.parametrize('setting, value', [('allow_tf32', True), ('fp32_precision', 'tf32')])
def test_tf32(setting, value):
    """PyTorch 2.9 added the second setting; once it is ``tf32``, reading the first one raises an error."""
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, setting):
        pytest.skip('needs PyTorch 2.9')
    (q, k), before = torch.randn(2, 1, 2, 5, 16, device=DEVICE), getattr(matmul, setting)
    expected = attention(q, k, 'reference')
    setattr(matmul, setting, value)
    try:
        out = attention(q, k, 'triton')
    finally:
        setattr(matmul, setting, before)
    torch.testing.assert_close(out, expected, atol=1e-2, rtol=1e-2)


def attention(q, k, backend):
    out, _ = residual_attention(q, k, k, prev_logits=None, alpha=0.5, backend=backend)
    return out


@pytest.mark.compiler
def test_the_probe_runs_every_kernel():
    probe.run_kernels(DEVICE)
