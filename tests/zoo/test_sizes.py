"""Models from untrusted files are built only up to the size of their weights, and within a time limit."""
import copy
import math
from threading import Thread

import pytest
import torch
from helpers import raises
from mmengine.registry import MODELS
from torch import nn

from mmvit_backbones.zoo import sizes
from mmvit_backbones.zoo.allowlist import NotAllowedError
from mmvit_backbones.zoo.sizes import TooLarge, build_without_weights, count_elements, limited


@MODELS.register_module()
class LayersForSizes(nn.Module):
    """Has ``copies`` layers with 1024 elements per output; PyTorch calls no hooks for copied parameters."""

    def __init__(self, outputs: int, copies: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(1023, outputs)
        self.layers = nn.ModuleList(copy.deepcopy(self.layer) for _ in range(copies))


@pytest.mark.parametrize('num_elements, outputs', [(0, 1024), (2_000_000, 3953), (math.inf, 4096)])
def test_models_may_have_one_and_a_half_times_the_elements_of_the_file_and_a_million(num_elements, outputs):
    built = build_without_weights(dict(type='LayersForSizes', outputs=outputs), num_elements=num_elements)
    assert built.layer.weight.is_meta and built.layer.weight.shape == (outputs, 1023)
    if num_elements < math.inf:
        for config in (dict(outputs=outputs + 1), dict(outputs=outputs // 2 + 1, copies=1)):
            with raises(NotAllowedError, 'larger than its weights'):
                build_without_weights(dict(config, type='LayersForSizes'), num_elements=num_elements)


def test_a_model_that_takes_too_long_is_refused(monkeypatch):
    config = dict(type='LayersForSizes', outputs=1)
    monkeypatch.setattr(sizes, 'MAX_SECONDS', 1.)
    build_without_weights(config)
    monkeypatch.setattr(sizes, 'MAX_SECONDS', 0.)
    with raises(NotAllowedError, 'takes too long'):
        build_without_weights(config)


def test_elements_and_modules_are_counted(monkeypatch):
    """The limits end with the block, and apply to its own thread alone."""
    monkeypatch.setattr(sizes, 'MAX_MODULES', 3)
    with limited(110):
        nn.Linear(10, 10)
        nn.BatchNorm1d(9, affine=False, track_running_stats=False)
        built = []
        other = Thread(target=lambda: built.append(nn.Linear(100, 100)))
        other.start()
        other.join()
        assert built
    with limited(math.inf):
        nn.Sequential(*[nn.ReLU()] * 3)
    for num_elements, build in [(109, lambda: nn.Linear(10, 10)), (9, lambda: nn.BatchNorm1d(5, affine=False)),
                                (math.inf, lambda: nn.Sequential(*[nn.ReLU()] * 4))]:
        with pytest.raises(TooLarge), limited(num_elements):
            build()
    nn.Linear(100, 100)


def test_the_limits_of_another_thread_do_not_apply():
    context = limited(10)
    other = Thread(target=context.__enter__)
    other.start()
    other.join()
    try:
        nn.Linear(100, 100)
    finally:
        context.__exit__(None, None, None)


def test_shared_and_expanded_elements_count_once():
    x, half = torch.rand(3, 4), torch.rand(5).half()
    weights = dict(x=x, view=x[1:].t(), expanded=torch.zeros(1).expand(1000), half=half, text='text')
    assert count_elements(weights) == 12 + 1 + 5


@pytest.mark.parametrize('model, scope', [
    (dict(type='LayersForSizes', outputs=1), 'mmnothing'), (dict(type='mmnothing.Layers'), None),
    (dict(type='LayersForSizes', outputs=dict(type='mmnothing.Layers')), None)])
def test_missing_frameworks_are_named(model, scope, monkeypatch):
    monkeypatch.setattr(sizes, 'FRAMEWORKS', ('mmnothing', 'mmunused'))
    with raises(NotAllowedError, 'mmnothing', 'not installed'):
        build_without_weights(model, scope)
