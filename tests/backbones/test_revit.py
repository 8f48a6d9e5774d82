"""Networks with attention residuals: memory, the gate and arguments."""

import pytest
import torch
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS
from traffic import count


def build(network: str, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(dict(type=network, **{**TINY_CONFIGS[network], **arguments})).eval()


def test_peak_memory_of_inference_does_not_depend_on_depth():
    images = torch.empty(1, 3, 256, 256, device='meta')
    peaks = [count(build('ReViT', arch=dict(TINY_CONFIGS['ReViT']['arch'], depth=depth)).to('meta'), images)
             for depth in (2, 4)]
    assert peaks[0]['forward']['peak'] == peaks[1]['forward']['peak']
    assert peaks[0]['step']['saved'] < peaks[1]['step']['saved']


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
