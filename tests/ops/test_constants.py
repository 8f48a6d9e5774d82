"""Tests the cache of constant tensors."""
import torch
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, vmap

from mmvit_backbones.layers import RelativePositionBias


def test_constants_are_usable_after_any_mode():
    """Calls under fake tensors, function transforms or inference mode must not change later calls."""
    layer = RelativePositionBias(num_heads=2, window_size=3)
    with FakeTensorMode():
        RelativePositionBias(num_heads=2, window_size=3)()
    tables = torch.stack([layer.relative_position_bias_table, 2 * layer.relative_position_bias_table])
    biases = vmap(lambda table: functional_call(layer, dict(relative_position_bias_table=table), ()))(tables)
    with torch.inference_mode():
        bias = layer()
    layer().square().sum().backward()
    assert torch.equal(layer(), bias) and torch.equal(biases[1], 2 * bias)
    assert layer.relative_position_bias_table.grad.count_nonzero() == layer.relative_position_bias_table.numel()
