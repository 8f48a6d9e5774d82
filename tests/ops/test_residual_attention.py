"""Attention with residual logits: the lean implementation agrees with the published formula."""
import random

import pytest
import torch

from mmvit_backbones.ops.pooled_attention import pool_logits, pooled_attention
from mmvit_backbones.ops.residual_attention import reference, residual_attention


def gradients(function, arguments, number):
    """Outputs, and the gradients of all tensors among the arguments."""
    arguments = {name: x.clone().requires_grad_() if torch.is_tensor(x) and name != 'mask' else x
                 for name, x in arguments.items()}
    out, logits = function(**arguments)
    torch.manual_seed(1)
    loss = (out * torch.randn_like(out)).sum()
    if number % 3:  # the last block's logits are not handed on
        loss = loss + (logits * torch.randn_like(logits)).sum()
    inputs = [x for x in arguments.values() if torch.is_tensor(x) and x.requires_grad]
    return out, logits, torch.autograd.grad(loss, inputs, allow_unused=True)


def random_arguments(number):
    rng = random.Random(number)
    b, heads, n, m, d = (rng.randint(1, high) for high in (3, 4, 20, 20, 9))
    lead = (b, rng.randint(1, 4), heads) if number % 2 else (b, heads)  # windows and heads, or heads

    def rand(*shape):
        return torch.randn(*shape, dtype=torch.double)

    prev_shape = rng.choice([None, (*lead, n, m), (*lead[:-1], 1, n, m)])
    prev = None if prev_shape is None else rand(*prev_shape)
    alpha = rng.choice([0.5, 0.3, torch.tensor(0.4, dtype=torch.double)])
    if prev is None and torch.is_tensor(alpha):
        alpha = 0.5  # without effect and without gradient
    return dict(
        q=rand(*lead, n, d), k=rand(*lead, m, d), v=rand(*lead, m, d), prev_logits=prev, alpha=alpha, scale=d**-0.5,
        bias=rng.choice([None, rand(heads, n, m), rand(*lead, n, m)]),
        mask=rng.choice([None, -100. * (rand(*lead[1:-1], 1, n, m) > 1).double()]), query_skip=rng.random() < 0.5)


@pytest.mark.parametrize('number', range(60))
def test_agrees_with_the_formula(number):
    arguments = random_arguments(number)
    expected, actual = (gradients(f, arguments, number) for f in (reference, residual_attention))
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize('number', range(6))
def test_dtypes(number, dtype, tolerance):
    arguments = random_arguments(number)
    expected = reference(**arguments)
    actual = residual_attention(**{k: x.to(dtype) if torch.is_tensor(x) else x for k, x in arguments.items()})
    for a, e in zip(actual, expected):
        assert a.dtype == dtype and (a.double() - e).norm() / e.norm() < tolerance


def test_gradcheck():
    q, k, v, prev, bias = (torch.randn(2, 2, 4, 4, dtype=torch.double, requires_grad=True) for _ in range(5))
    alpha = torch.tensor(0.4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *args: residual_attention(*args[:5], 0.5, args[5], query_skip=True), (q, k, v, prev, alpha, bias))


@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('prev_shape', [None, (2, 4, 6), (1, 2, 3)], ids=str)
def test_pooled_attention_repeats_previous_logits_and_pools_its_own(prev_shape, grad):
    q, k, v = (torch.randn(2, 2, *grid, 5, requires_grad=grad) for grid in ((2, 4), (4, 6), (4, 6)))
    rows, columns, prev, repeated = torch.randn(2, 2, 8, 4), torch.randn(2, 2, 8, 6), None, None
    if prev_shape:
        prev = repeated = torch.randn(2, prev_shape[0], 2, 4, *prev_shape[1:])
        for dim in (4, 5):
            repeated = repeated.repeat_interleave(k.shape[dim - 2] // prev.shape[dim], dim)
        repeated = repeated.flatten(4).flatten(2, 3)
    with torch.set_grad_enabled(grad):
        actual, pooled = pooled_attention(q, k, v, prev, torch.tensor(0.4), 0.5, (rows, columns))
        pooled = pool_logits(pooled, (4, 1, 2, 8, 3))
    out, logits = reference(*(x.flatten(2, 3) for x in (q, k, v)), repeated, 0.4, 0.5, query_skip=True,
                            bias=(rows[..., None] + columns[..., None, :]).flatten(-2))
    means = logits.view(2, 2, 1, 2, 2, 2, 4, 3, 2).mean((1, 3, 5, 8))[:, None]
    torch.testing.assert_close((actual, pooled), (out.view(q.shape), means))
