"""Attention layers without position bias, compared with their formulas."""
import pytest
import torch
from helpers import relative_error

from mmvit_backbones.layers import LinearAttention


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@torch.no_grad()
def test_linear_attention_sums_in_float32(dtype):
    """Rounding exponentials and sums to half precision would give larger errors."""
    attention, seen = LinearAttention(32, 32), {}
    attention.kqv.register_forward_hook(lambda module, args, out: seen.update(projected=out.double().flatten(1, 2)))
    attention.proj.register_forward_pre_hook(lambda module, args: seen.update(attended=args[0]))
    with torch.autocast('cpu', dtype):
        attention(torch.randn(1, 64, 64, 32))
    key, query, value = seen['projected'].chunk(3, dim=-1)
    key, query = (torch.exp(x @ attention.features.double().T - x.square().sum(-1, keepdim=True) / 2)
                  for x in (key, query))
    weights = query @ key.mT
    expected = weights / weights.sum(-1, keepdim=True) @ value
    assert seen['attended'].dtype == dtype
    assert relative_error(seen['attended'], expected) < torch.finfo(dtype).eps / 2


@torch.no_grad()
def test_linear_attention_without_dropout_and_its_initial_features():
    attention, x = LinearAttention(6, 32), torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(attention.train()(x), attention.eval()(x))
    torch.testing.assert_close(attention.features @ attention.features.T, 16 * torch.eye(16), atol=1e-4, rtol=0)
