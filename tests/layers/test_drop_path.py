"""Stochastic depth: dropped samples and the schedule of rates."""
import pytest
import torch

from mmvit_backbones.layers import DropPath, drop_path_schedule


def test_samples_are_dropped_or_scaled():
    layer, x, branch = DropPath(0.25), torch.randn(200, 3, 2), 1 + torch.rand(200, 3, 2)
    y = layer(x, branch, weight=2.)
    kept = y[:, 0, 0] != x[:, 0, 0]
    torch.testing.assert_close(y, x + 2 * branch / 0.75 * kept[:, None, None])
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.15)
    assert torch.equal(layer.eval()(x, branch), x + branch)


def test_rates_rise_linearly_over_all_stages():
    first, second = drop_path_schedule(0.4, [2, 3])
    assert first == pytest.approx([0, 0.1]) and second == pytest.approx([0.2, 0.3, 0.4])
