"""The linear layer that runs as a convolution on CPUs is still a linear layer."""
import pytest
import torch
import torch.nn.functional as F

from mmvit_backbones.layers import Linear


@pytest.mark.parametrize('make', [
    lambda: torch.randn(2, 5, 7, 24), lambda: torch.randn(2, 24, 5, 7).permute(0, 2, 3, 1),
    lambda: torch.randn(3, 9, 24), lambda: torch.randn(1, 1, 1, 24), lambda: torch.randn(6, 24),
    lambda: torch.randn(0, 4, 4, 24), lambda: torch.randn(2, 5, 7, 48)[..., ::2]
], ids=['map', 'channels_first', 'tokens', 'pixel', 'vectors', 'empty', 'strided'])
@pytest.mark.parametrize('bias', [True, False])
def test_result_and_gradients(make, bias):
    layer, x = Linear(24, 10, bias=bias), make().requires_grad_()
    weights = [x, *layer.parameters()]
    out, expected = layer(x), F.linear(x, layer.weight, layer.bias)
    assert out.is_contiguous()
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    factor = torch.randn_like(out)
    for actual, wanted in zip(torch.autograd.grad((out * factor).sum(), weights),
                              torch.autograd.grad((expected * factor).sum(), weights)):
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-4)


def test_graphs_say_what_is_meant():
    exported = torch.export.export(Linear(24, 10), (torch.randn(1, 3, 3, 24), ))
    targets = {str(node.target) for node in exported.graph.nodes}
    assert 'aten.linear.default' in targets and 'aten.conv2d.default' not in targets


def test_compiles_whole():
    layer, x = Linear(24, 10), torch.randn(1, 3, 3, 24)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend='eager')(x), layer(x))
