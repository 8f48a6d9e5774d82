"""Attention residuals: memory, half precision, the gate."""
import copy

import pytest
import torch
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.utils.measure import count

NETWORKS = ['ReMViTv2', 'ReSwin', 'ReViT']
each_network = pytest.mark.parametrize('network', NETWORKS)


def build(network: str, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(dict(type=network, **{**TINY_CONFIGS[network], **arguments})).eval()


def without_residuals(model: torch.nn.Module) -> torch.nn.Module:
    """Returns the same network with plain attention."""
    run = model.run_attention_block
    model.run_attention_block = lambda block, x, residual, *rest: run(block, x, None, *rest)
    return model


def test_depth_adds_nothing_to_the_peak_of_inference():
    images = torch.empty(1, 3, 256, 256, device='meta')
    peaks = [count(build('ReViT', arch=dict(TINY_CONFIGS['ReViT']['arch'], depth=depth)).to('meta'), images)
             for depth in (2, 4)]
    assert peaks[0]['forward']['peak'] == peaks[1]['forward']['peak']
    assert peaks[0]['step']['saved'] < peaks[1]['step']['saved']


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@each_network
@torch.no_grad()
def test_half_precision_costs_no_more_than_with_plain_attention(network, dtype):
    images, errors = torch.randn(2, 3, 64, 96), []
    for model in (build(network), without_residuals(build(network))):
        for name, parameter in model.named_parameters():  # logits as large as those of a trained network
            if name.endswith('qkv.weight'):
                parameter.mul_(10)
        exact = copy.deepcopy(model).double()
        with torch.autocast('cpu', dtype):
            actual = model(images)[-1]
        expected = exact(images.double())[-1]
        errors.append(((actual - expected).norm() / expected.norm()).item())
    assert errors[0] < 2 * errors[1]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@each_network
@torch.no_grad()
def test_residual_stays_in_the_autocast_dtype(network, dtype):
    model, dtypes = build(network), []
    for module in model.modules():
        if hasattr(module, 'attn'):
            module.attn.register_forward_hook(lambda attn, _, out: dtypes.append(out[1].dtype))
    with torch.autocast('cpu', dtype):
        model(torch.randn(1, 3, 64, 64))
    assert dtypes and set(dtypes) == {dtype}


@pytest.mark.parametrize('network, frozen_stages', [('ReViT', 1), ('ReMViTv2', 2)])
def test_gate_is_frozen_with_the_first_blocks_that_read_it(network, frozen_stages):
    assert build(network, frozen_stages=frozen_stages - 1).gate.weight.requires_grad
    assert not build(network, frozen_stages=frozen_stages).gate.weight.requires_grad


@pytest.mark.parametrize('network, arguments, told', [
    ('ReViT', dict(img_size=8), 'img_size'),
    ('ReViT', dict(arch=dict(TINY_CONFIGS['ReViT']['arch'], num_heads=5)), 'num_heads'),
    ('ReMViTv2', dict(img_size=0), 'img_size'),
    ('ReMViTv2', dict(arch=dict(TINY_CONFIGS['ReMViTv2']['arch'], num_heads=[1, 2, 4])), 'num_heads'),
])
def test_bad_settings_are_named(network, arguments, told):
    with pytest.raises(ValueError, match=told):
        build(network, **arguments)
