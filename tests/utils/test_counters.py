"""Saved activations are counted."""
import pytest
import torch
from torch import nn

from mmvit.utils.counters import bytes_of, saved_storages

BYTES = 4 * 2 * 3 * 5 * 7  # of the images


class Scale(nn.Module):
    """Two elementwise kernels, which save the input of the first and the result of the second."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).relu().flatten(1)


@pytest.mark.parametrize('ignore', ['none', 'model', 'input'])
def test_each_saved_storage_is_counted_once(ignore):
    model, x = nn.Sequential(Scale(), Scale()), torch.ones(2, 3, 5, 7, requires_grad=True)
    ignored = dict(none=(), model=(model, ), input=(model, x))[ignore]
    with saved_storages(*ignored) as saved:
        model[0](x)
        model[0](x)
    assert bytes_of(saved) == 3 * BYTES + 4 - dict(none=0, model=4, input=4 + BYTES)[ignore]
    model[1](x)  # after the end
    assert len(saved) == 4 - dict(none=0, model=1, input=2)[ignore]
