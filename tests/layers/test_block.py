"""The MLP, its dropout, and initial weights."""
import pytest
import torch
from torch import nn

from mmvit_backbones.layers import Mlp, init_linear


@torch.no_grad()
def test_dropout_follows_gelu_and_the_second_layer():
    mlp, x = Mlp(64, 100, drop_rate=0.5), torch.randn(50, 64)
    hidden = []
    mlp.fc2.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    for dropped in (mlp(x), *hidden):
        assert dropped.eq(0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    expected = mlp.fc2(nn.functional.gelu(mlp.fc1(x)))
    torch.testing.assert_close(mlp.eval()(x), expected)
    plain = Mlp(64, 100).train()
    torch.testing.assert_close(plain(x), plain.fc2(nn.functional.gelu(plain.fc1(x))))


@pytest.mark.parametrize('bias', [False, True])
def test_initial_weights_of_linear_layers(bias):
    linear, conv = nn.Linear(100, 200, bias=bias), nn.Conv2d(8, 8, 1)
    before = conv.weight.clone()
    nn.Sequential(linear, conv).apply(init_linear)
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05) and torch.equal(conv.weight, before)
    assert linear.bias is None or not linear.bias.any()
