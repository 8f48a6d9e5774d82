"""Tests ResT's attention: agreement with the paper, gradients and precision."""
import pytest
import torch

from mmvit_backbones.ops.normalized_attention import normalized_attention


def published(logits, value, eps=1e-5):
    """Computes ``IN(softmax(logits)) v`` by the definition of the instance norm."""
    attn = logits.softmax(-1)
    mean, var = attn.mean((2, 3), keepdim=True), attn.var((2, 3), correction=0, keepdim=True)
    return (attn - mean) / (var + eps).sqrt() @ value


@pytest.mark.parametrize('n, m', [(7, 5), (1, 4), (1, 1)])
def test_agrees_with_the_published_formula(n, m):
    logits = torch.randn(2, 3, n, m, dtype=torch.double, requires_grad=True)
    value = torch.randn(2, 3, m, 4, dtype=torch.double, requires_grad=True)
    outs = [function(logits, value) for function in (published, normalized_attention)]
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*[torch.autograd.grad(out.pow(3).sum(), (logits, value)) for out in outs])


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-4), (torch.float16, 1e-2), (torch.bfloat16, 0.1)])
def test_nearly_uniform_attention_is_accurate(dtype, tolerance):
    """The instance norm amplifies rounding errors most if attention is nearly uniform and values have a large mean."""
    logits, value = 0.02 * torch.randn(2, 2, 144, 144), 3 + torch.randn(2, 2, 144, 32)
    logits, value = logits.to(dtype), value.to(dtype)
    expected = published(logits.double(), value.double())
    assert (normalized_attention(logits, value).double() - expected).norm() / expected.norm() < tolerance
