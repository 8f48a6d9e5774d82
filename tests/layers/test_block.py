"""Initial weights."""
import pytest
import torch
from torch import nn

from mmvit_backbones.layers import init_linear


@pytest.mark.parametrize('bias', [False, True])
def test_initial_weights_of_linear_layers(bias):
    linear, conv = nn.Linear(100, 200, bias=bias), nn.Conv2d(8, 8, 1)
    before = conv.weight.clone()
    nn.Sequential(linear, conv).apply(init_linear)
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05) and torch.equal(conv.weight, before)
    assert linear.bias is None or not linear.bias.any()
