"""Tests residual attention: equation 5 of the paper, gradients, and dtypes."""
import pytest
import torch
from helpers import raises

from mmvit_backbones.ops.residual_attention import residual_attention


def rand(*shape, dtype=torch.double):
    return torch.randn(shape, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize('alpha', [0.3, torch.tensor(0.3)], ids=['constant', 'learned'])
def test_an_own_bias_is_blended_with_the_own_logits(alpha):
    """The mask is not in the logits."""
    q, own_bias, prev_logits = rand(2, 3, 5, 4), rand(3, 5, 5), rand(2, 3, 5, 5)
    mask = -100. * torch.eye(5).expand(1, 5, 5)
    out, logits = residual_attention(q, q, q, prev_logits=prev_logits, alpha=alpha, own_bias=own_bias, mask=mask)
    torch.testing.assert_close(logits, 0.3 * (q @ q.transpose(-2, -1) / 2 + own_bias) + 0.7 * prev_logits)
    torch.testing.assert_close(out, (logits + mask).softmax(-1) @ q)
    with raises(ValueError, 'own_bias', 'bias'):
        residual_attention(q, q, q, prev_logits=None, alpha=alpha, own_bias=own_bias, bias=own_bias)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize('autocast', [False, True])
def test_dtypes(dtype, tolerance, autocast):
    """A float32 ``alpha`` does not change the dtype of the results."""
    tensors = rand(2, 3, 9, 4), rand(2, 3, 7, 4), rand(2, 3, 7, 4), rand(2, 3, 9, 7), rand(3, 9, 7)
    alpha = torch.tensor(0.3)
    *qkv, prev_logits, bias = (x.to(dtype) for x in tensors)
    with torch.autocast('cpu', dtype, enabled=autocast and dtype != torch.float32):
        actual = residual_attention(*qkv, prev_logits=prev_logits, alpha=alpha,
                                    bias=bias.float() if autocast else bias)
    *qkv, prev_logits, bias = tensors
    expected = residual_attention(*qkv, prev_logits=prev_logits, alpha=alpha, bias=bias)
    for a, e in zip(actual, expected):
        assert a.dtype == dtype and (a.double() - e).norm() / e.norm() < tolerance


def test_gradcheck():
    inputs = rand(2, 2, 4, 3), rand(2, 2, 5, 3), rand(2, 2, 5, 3), rand(2, 1, 4, 5), rand(), rand(2, 4, 5)

    def function(q, k, v, prev_logits, alpha, bias):
        return residual_attention(q, k, v, prev_logits=prev_logits, alpha=alpha, bias=bias)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)
