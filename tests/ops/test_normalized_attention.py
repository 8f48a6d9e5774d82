"""Attention of ResTv1: the lean implementation agrees with the published formula and saves one map."""
import random

import pytest
import torch

from mmvit_backbones.ops.normalized_attention import normalized_attention, reference, scaled_logits
from mmvit_backbones.utils.measure import SavedStorages


def gradients(function, *inputs):
    inputs = [x.clone().requires_grad_() for x in inputs]
    out = function(*inputs)
    torch.manual_seed(1)
    return out, torch.autograd.grad((out * torch.randn_like(out)).sum(), inputs)


@pytest.mark.parametrize('seed', range(20))
def test_agrees_with_the_formula(seed):
    rng = random.Random(seed)
    b, heads, n, m, d = rng.randint(1, 3), rng.randint(1, 4), rng.randint(1, 40), rng.randint(1, 30), rng.randint(1, 9)
    logits, value = torch.randn(b, heads, n, m, dtype=torch.double), torch.randn(b, heads, m, d, dtype=torch.double)
    expected, actual = (gradients(f, logits, value) for f in (reference, normalized_attention))
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-8)


def test_gradcheck():
    logits, value = torch.randn(2, 2, 5, 4, dtype=torch.double), torch.randn(2, 2, 4, 3, dtype=torch.double)
    q, k = torch.randn(2, 2, 5, 3, dtype=torch.double), torch.randn(2, 2, 4, 3, dtype=torch.double)
    inputs = [x.requires_grad_() for x in (logits, value, q, k)]
    assert torch.autograd.gradcheck(normalized_attention, inputs[:2])
    assert torch.autograd.gradcheck(lambda q, k: scaled_logits(q, k, 0.3), inputs[2:])


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-4), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)])
def test_nearly_uniform_attention_is_accurate(dtype, tolerance):
    """Where the instance norm amplifies rounding most, and values have a large mean."""
    logits, value = 0.02 * torch.randn(2, 2, 144, 144), 3 + torch.randn(2, 2, 144, 32)
    logits, value = logits.to(dtype), value.to(dtype)
    expected = reference(logits.double(), value.double())
    assert (normalized_attention(logits, value).double() - expected).norm() / expected.norm() < tolerance


def test_saves_one_map():
    logits, value = torch.randn(2, 4, 256, 64, requires_grad=True), torch.randn(2, 4, 64, 8, requires_grad=True)
    with SavedStorages() as saved:
        out = normalized_attention(logits, value)
    assert out.requires_grad and saved.num_bytes < 1.2 * logits.nbytes
