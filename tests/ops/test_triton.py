"""The Triton kernels agree with plain PyTorch: on a GPU, or else in Triton's interpreter."""
import random

import pytest
import torch

from mmvit_backbones.ops import backends
from mmvit_backbones.ops.normalized_attention import normalized_attention, scaled_logits
from mmvit_backbones.ops.residual_attention import residual_attention
from mmvit_backbones.ops.sigmoid_gate import sigmoid_gate

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
pytestmark = pytest.mark.skipif(not (DEVICE.type == 'cuda' or backends.INTERPRETED),
                                reason='needs a GPU or TRITON_INTERPRET=1')
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def heads(rng, b, num_heads, n, d):
    """``(B, num_heads, N, d)``, with the strides of a part of a packed projection, or dense."""
    if rng.random() < 0.5:
        return torch.randn(b, num_heads, n, d)
    return torch.randn(b, n, 2, num_heads, d).unbind(2)[1].transpose(1, 2)


def normalized_attention_case(rng):
    b, h, n, m, d = rng.randint(0, 2), rng.randint(1, 3), rng.randint(1, 90), rng.randint(1, 140), rng.randint(1, 70)
    return normalized_attention, (rng.choice([0.1, 3]) * torch.randn(b, h, n, m), heads(rng, b, h, m, d))


def scaled_logits_case(rng):
    b, h, n, m, d = rng.randint(0, 2), rng.randint(1, 3), rng.randint(1, 90), rng.randint(1, 140), rng.randint(1, 128)
    return (lambda *x, backend: scaled_logits(*x, 0.3, backend)), (heads(rng, b, h, n, d), heads(rng, b, h, m, d))


def sigmoid_gate_case(rng):
    shape = rng.randint(0, 2), rng.randint(1, 70), rng.randint(1, 9), rng.randint(1, 9)
    maps = [torch.randn(shape) for _ in range(2)]
    return sigmoid_gate, [x.to(memory_format=torch.channels_last) if rng.random() < 0.5 else x for x in maps]


def residual_attention_case(rng):
    """Every subset of the optional arguments; the first tensor returned holds both results."""
    b, h, n, m, d = rng.randint(0, 2), rng.randint(1, 3), rng.randint(1, 90), rng.randint(1, 80), rng.randint(1, 40)
    q, k, v = heads(rng, b, h, n, d), heads(rng, b, h, m, d), heads(rng, b, h, m, d)
    learned, skip, has_prev, has_bias, has_mask = (rng.random() < 0.5 for _ in range(5))
    prev = torch.randn(rng.choice([(b, h, n, m), (b, 1, n, m)]))
    bias, mask = torch.randn(rng.choice([(b, h, n, m), (h, n, m)])), torch.randn(n, m)

    def function(q, k, v, prev, bias, alpha, backend):
        out, logits = residual_attention(
            q, k, v, prev if has_prev else None, alpha if learned else 0.3, 0.4, bias if has_bias else None,
            mask.to(q) if has_mask else None, skip, backend=backend)
        unused = 0. * (prev.sum() + bias.sum() + alpha)
        return torch.cat([out.flatten(), logits.flatten(), unused[None]])

    return function, (q, k, v, prev, bias, torch.tensor(0.7))


@pytest.mark.parametrize('dtype', DTYPES, ids=str)
@pytest.mark.parametrize(
    'case', [residual_attention_case, normalized_attention_case, scaled_logits_case, sigmoid_gate_case])
def test_agrees_on_random_shapes(case, dtype):
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(8):
        function, inputs = case(rng)
        inputs = [x.bfloat16() for x in inputs]  # exact in every dtype

        def run(backend, device, dtype):
            x = [x.to(device, dtype).requires_grad_() for x in inputs]
            out = function(*x, backend=backend)
            weight = torch.linspace(-1, 1, out.numel(), device=device).view_as(out).bfloat16()
            return [out, *torch.autograd.grad(out, x, weight.to(dtype))]

        if inputs[0].numel():
            assert backends.self_check(run, DEVICE, dtype) is None
        else:
            assert run('triton', DEVICE, dtype)[0].shape == run('torch', DEVICE, dtype)[0].shape


def test_a_request_that_cannot_run_says_why():
    x = torch.randn(1, 1, 4, 4, device=DEVICE)
    with pytest.raises(ValueError, match='no kernels for torch.float64'):
        sigmoid_gate(x.double(), x.double(), backend='triton')
    with pytest.raises(ValueError, match="must be 'torch', 'triton' or None, got 'cuda'"):
        sigmoid_gate(x, x, backend='cuda')


@pytest.mark.parametrize('fault, message', [('wrong', 'deviate'), ('nan', 'deviate'), ('raises', 'RuntimeError')])
def test_broken_kernels_are_not_used(fault, message, caplog):
    """As if a driver had compiled them wrongly."""

    def example(backend, device, dtype):
        result = torch.ones(3, dtype=dtype)
        if backend == 'triton' and fault == 'raises':
            raise RuntimeError('out of resource')
        return [result * {'wrong': 1.5, 'nan': float('nan')}[fault] if backend == 'triton' else result]

    for _ in range(2):
        reason = backends.why_not_trusted(fault, example, DEVICE, torch.float32)
        assert message in reason
    assert [fault in record.message for record in caplog.records] == [True]
    assert backends.why_not_trusted('sound', lambda *_: [torch.ones(1)], DEVICE, torch.float32) is None
