"""Saved activations are counted."""
import pytest
import torch
from torch import nn

from mmvit.measuring.counters import saved_bytes

BYTES = 4 * 2 * 3 * 5 * 7  # of the images


class Scale(nn.Module):
    """Two elementwise kernels, which save the input of the first and the result of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).relu().flatten(1)


@pytest.mark.parametrize('ignores', [False, True])
def test_each_saved_storage_is_counted_once(ignores):
    model, x = Scale(), torch.ones(2, 3, 5, 7, requires_grad=True)
    found = saved_bytes(lambda: [model(x), model(x)], *([model] if ignores else []))
    assert found == 3 * BYTES + (0 if ignores else 4)
