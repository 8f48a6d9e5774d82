"""Accelerated models: results, gradients and state dict."""
import copy

import pytest
import torch
from helpers import each_network, raises
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones import accelerate
from mmvit_backbones.accelerate import PackedLinear


def build(network):
    torch.manual_seed(0)
    model = MODELS.build({'type': network, **TINY_CONFIGS[network]}).train()
    with torch.no_grad():  # updates the running statistics of batch norms
        model(torch.randn(4, 3, 64, 64))
    return model.eval()


def kinds(model):
    return {type(module) for module in model.modules()}


def close(actual, expected, network):
    # With initial weights, attention is nearly uniform, so the instance norm of ResT amplifies rounding errors.
    tolerance = 1e-4 if network == 'ResT' else 1e-5
    return all((a - e).norm() <= tolerance * e.norm() for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize('inference', [False, True])
@each_network
def test_results_and_state_dict_match_the_plain_model(network, inference):
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


@pytest.mark.parametrize('inference', [False, True])
@pytest.mark.parametrize('network', ['ReSwin', 'RefinerViT', 'ViTAEv2'])
def test_gradients_match_the_plain_model(network, inference):
    plain = build(network)
    fast = accelerate(copy.deepcopy(plain), inference)
    images = torch.randn(2, 3, 64, 96)
    for model in (plain, fast):
        sum(out.square().mean() for out in model(images)).backward()
    for a, e in zip(fast.parameters(), plain.parameters()):
        torch.testing.assert_close(a.grad, e.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('without_gradients', [torch.no_grad, torch.inference_mode])
def test_weights_loaded_later_are_used(without_gradients):
    with without_gradients():
        plain = build('RefinerViT')
        fast = accelerate(MODELS.build({'type': 'RefinerViT', **TINY_CONFIGS['RefinerViT']}), inference=True)
        images = torch.randn(2, 3, 64, 96)
        fast(images)
        fast.load_state_dict(plain.state_dict())
        assert close(fast(images), plain(images), 'RefinerViT')


@torch.no_grad()
def test_weights_are_packed_once():
    """Packing takes time, so later passes use the same packed weights."""
    fast, images = accelerate(build('RefinerViT'), inference=True), torch.randn(2, 3, 64, 96)
    layers = [module for module in fast.modules() if isinstance(module, PackedLinear)]
    fast(images)
    packed = [layer.packed_weight for layer in layers]
    fast(images)
    assert packed and all(layer.packed_weight is weight is not None for layer, weight in zip(layers, packed))


def test_hooks_and_shared_modules_are_kept():
    linear, calls = torch.nn.Linear(8, 8), []
    linear.register_forward_hook(lambda *_: calls.append(1))
    model = accelerate(torch.nn.Sequential(linear, torch.nn.Sequential(linear), linear))
    model(torch.randn(16, 8))
    assert len(calls) == 3 and model[0] is model[1][0] is model[2] is not linear and model[0].weight is linear.weight


@pytest.mark.parametrize('inference', [False, True])
@torch.no_grad()
def test_compiled_modules_keep_their_results(inference):
    models = [torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Sequential(torch.nn.Linear(8, 8))) for _ in range(3)]
    x = torch.randn(16, 8)
    expected = [model(x) for model in models]
    models[0].compile(backend='eager')
    models[1][1] = torch.compile(models[1][1], backend='eager')
    models[2] = torch.compile(models[2], backend='eager')
    for model, out in zip(models, expected):
        model(x)
        torch.testing.assert_close(accelerate(model, inference)(x), out)


def test_unsupported_models_are_refused():
    with raises(TypeError, 'model', 'str'):
        accelerate('reswin_tiny')
    model = build('ResT')
    model.norm0.to('meta')
    with raises(ValueError, 'device', 'cpu', 'meta'):
        accelerate(model)
