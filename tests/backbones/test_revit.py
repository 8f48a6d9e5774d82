"""Networks with attention residuals: memory, half precision, the gate and arguments."""
import copy

import pytest
import torch
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS
from traffic import count

NETWORKS = ['ReMViTv2', 'ReSwin', 'ReViT']
each_network = pytest.mark.parametrize('network', NETWORKS)


def build(network: str, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(dict(type=network, **{**TINY_CONFIGS[network], **arguments})).eval()


def without_residuals(model: torch.nn.Module) -> torch.nn.Module:
    """Replaces attention residuals by standard attention."""
    run = model.run_block
    model.run_block = lambda block, x, prev_logits, *args: run(block, x, None, *args)
    return model


def test_peak_memory_of_inference_does_not_depend_on_depth():
    images = torch.empty(1, 3, 256, 256, device='meta')
    peaks = [count(build('ReViT', arch=dict(TINY_CONFIGS['ReViT']['arch'], depth=depth)).to('meta'), images)
             for depth in (2, 4)]
    assert peaks[0]['forward']['peak'] == peaks[1]['forward']['peak']
    assert peaks[0]['step']['saved'] < peaks[1]['step']['saved']


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@each_network
@torch.no_grad()
def test_residuals_at_most_double_the_error_of_half_precision(network, dtype):
    images, errors = torch.randn(2, 3, 64, 96), []
    for model in (build(network), without_residuals(build(network))):
        for name, parameter in model.named_parameters():  # gives logits the magnitude of trained networks
            if name.endswith('qkv.weight'):
                parameter.mul_(10)
        exact = copy.deepcopy(model).double()
        with torch.autocast('cpu', dtype):
            actual = model(images)[-1]
        expected = exact(images.double())[-1]
        errors.append(((actual - expected).norm() / expected.norm()).item())
    assert errors[0] < 2 * errors[1]


@pytest.mark.parametrize('network, frozen_stages', [('ReViT', 1), ('ReMViTv2', 2)])
def test_gate_is_frozen_with_the_stage_of_the_second_block(network, frozen_stages):
    assert build(network, frozen_stages=frozen_stages - 1).gate.weight.requires_grad
    assert not build(network, frozen_stages=frozen_stages).gate.weight.requires_grad


@pytest.mark.parametrize('depth', [1, 2])
@torch.no_grad()
def test_gate_of_shallow_networks(depth):
    """A single block does not use the gate."""
    model = build('ReViT', arch=dict(TINY_CONFIGS['ReViT']['arch'], depth=depth), frozen_stages=1)
    assert model(torch.randn(1, 3, 32, 32))[0].shape == (1, 48, 2, 2)
    assert model.gate.weight.requires_grad == (depth == 1)


@pytest.mark.parametrize('network', ['ReViT', 'ReMViTv2'])
def test_images_must_have_a_size(network):
    with pytest.raises(ValueError, match='img_size'):
        build(network, img_size=0)
