"""Scaled dot-product attention under function transforms, compared with PyTorch's."""
import pytest
import torch
import torch.nn.functional as F

from mmvit_backbones.ops.attention import dot_product_attention


@pytest.mark.parametrize('scale', [None, 0.3])
@pytest.mark.parametrize('has_bias', [False, True])
def test_results_and_slopes_under_transforms(has_bias, scale):
    """PyTorch's attention has no forward-mode derivatives, so slopes are compared with reverse mode."""
    q, k, v = (torch.randn(2, 3, n, 4, dtype=torch.double) for n in (5, 7, 7))
    bias = torch.randn(3, 5, 7, dtype=torch.double) if has_bias else None

    def function(q):
        return dot_product_attention(q, k, v, bias, scale)

    out, slope = torch.func.jvp(function, (q, ), (torch.ones_like(q), ))
    leaf = q.clone().requires_grad_()
    expected = F.scaled_dot_product_attention(leaf, k, v, bias, scale=scale)
    torch.testing.assert_close(out, expected)
    assert torch.equal(function(q), expected)
    gradient, = torch.autograd.grad(expected.sum(), leaf)
    torch.testing.assert_close(slope.sum(), gradient.sum())
