"""Tests the detection of function transforms and traces, and the conversion to channels last."""
import pytest
import torch
from torch.func import vmap

from mmvit_backbones.ops.eager import channels_last, is_eager, is_transformed


def test_transforms_are_detected():
    x, found = torch.zeros(2, 3), []
    assert is_eager(x) and is_eager(torch.nn.Parameter(x)) and not is_transformed()
    vmap(lambda row: found.append((is_eager(x), is_transformed())) or row)(x)
    with torch.autograd.forward_ad.dual_level():
        found.append((is_eager(x), is_transformed()))
    assert found == [(False, True)] * 2


@pytest.mark.filterwarnings('ignore:`torch.jit.trace:DeprecationWarning')
def test_traces_are_not_eager():
    found = []

    def function(x):
        found.append(is_eager(x))
        return x + 1

    torch.jit.trace(function, torch.zeros(2), check_trace=False)
    assert found == [False]


def test_channels_last_maps_also_work_under_transforms():
    x = torch.randn(2, 3, 4, 5)
    assert channels_last(x).is_contiguous(memory_format=torch.channels_last) and torch.equal(channels_last(x), x)
    assert torch.equal(vmap(channels_last)(x[None]), x[None])
