"""Accelerated models: the same results and the same state dict."""
import copy

import pytest
import torch
from helpers import each_network
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones import accelerate


def build(network):
    torch.manual_seed(0)
    model = MODELS.build({'type': network, **TINY_CONFIGS[network]}).train()
    with torch.no_grad():  # statistics that are not those of the start
        model(torch.randn(4, 3, 64, 64))
    return model.eval()


def kinds(model):
    return {type(module) for module in model.modules()}


def close(actual, expected, network):
    # With the initial weights, attention is nearly uniform, and ResT's instance norm magnifies rounding.
    tolerance = 1e-4 if network == 'ResT' else 1e-5
    return all((a - e).norm() <= tolerance * e.norm() for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize('inference', [False, True])
@each_network
def test_results_and_state_dict_are_those_of_the_plain_model(network, inference):
    plain = build(network)
    fast = accelerate(copy.deepcopy(plain), inference=inference)
    assert kinds(fast) != kinds(plain), 'nothing was replaced'
    assert fast.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in fast.state_dict().items())
    with torch.no_grad():
        for size in ((64, 96), (33, 50)):
            images = torch.randn(2, 3, *size)
            expected = plain(images)
            assert close(fast(images), expected, network)
            assert close(accelerate(copy.deepcopy(fast), inference=inference)(images), expected, network)


@pytest.mark.parametrize('network', ['ReSwin', 'RefinerViT', 'ViTAEv2'])
def test_gradients_are_those_of_the_plain_model(network):
    plain = build(network)
    fast = accelerate(copy.deepcopy(plain))
    images = torch.randn(2, 3, 64, 96)
    for model in (plain, fast):
        sum(out.square().mean() for out in model(images)).backward()
    for a, e in zip(fast.parameters(), plain.parameters()):
        torch.testing.assert_close(a.grad, e.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('network', ['ResT', 'RefinerViT', 'ViTAEv2'])
@torch.no_grad()
def test_weights_loaded_later_are_folded_too(network):
    plain = build(network)
    fast = accelerate(MODELS.build({'type': network, **TINY_CONFIGS[network]}), inference=True)
    assert any('Folded' in kind.__name__ for kind in kinds(fast)), 'not folded'
    images = torch.randn(2, 3, 64, 96)
    fast(images)
    fast.load_state_dict(plain.state_dict())
    assert close(fast(images), plain(images), network)


def test_large_maps_are_refined_in_chunks(monkeypatch):
    from mmvit_backbones.ops import refined_attention
    plain, images = build('RefinerViT'), torch.randn(2, 3, 160, 96)
    with torch.no_grad():
        expected = plain(images)
        monkeypatch.setattr(refined_attention, 'CHUNK_ELEMENTS', 6 * 61 * 10)
        assert close(accelerate(plain, inference=True)(images), expected, 'RefinerViT')


def test_what_it_cannot_do_is_refused():
    with pytest.raises(TypeError, match='model must be'):
        accelerate('reswin_tiny')
    model = build('ResT')
    with pytest.raises(TypeError, match='not compiled'):
        accelerate(torch.compile(model))
    with pytest.raises(RuntimeError, match='cannot be trained'):
        accelerate(copy.deepcopy(model), inference=True).train()
    model.norm0.to('meta')
    with pytest.raises(ValueError, match=r"one device, got \['cpu', 'meta'\]"):
        accelerate(model)
