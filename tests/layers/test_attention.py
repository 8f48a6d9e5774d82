"""Attention layers: precision."""
import pytest
import torch
from helpers import relative_error

from mmvit_backbones.layers import LinearAttention


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@torch.no_grad()
def test_linear_attention_sums_in_float32(dtype):
    """Only inputs and outputs are rounded: exponentials and sums over 4096 tokens would lose more."""
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
