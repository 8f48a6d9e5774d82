"""ViTAE and ViTAEv2: memory, the class token, dropout and arguments."""
import pytest
import torch
from helpers import fresh_model, images, raises
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS
from traffic import Counter

from mmvit_backbones.backbones.vitaev2 import published_drop_paths
from mmvit_backbones.layers.vitae_cell import BaseNormalCell

TINY, TINY_V2 = TINY_CONFIGS['ViTAE']['arch'], TINY_CONFIGS['ViTAEv2']['arch']


@pytest.mark.parametrize('network', ['ViTAE', 'ViTAEv2'])
@torch.no_grad()
def test_memory_is_linear_in_the_number_of_pixels(network):
    """At 768 x 768 pixels, the third stage has 2,304 tokens; a full attention map would dominate the memory."""
    model, peaks = MODELS.build(dict(type=network, **TINY_CONFIGS[network])).eval(), []
    for side in (384, 768):
        with Counter() as live:
            model(torch.randn(1, 3, side, side))
        peaks.append(live.peak)
    assert peaks[1] < 4.1 * peaks[0]


@pytest.mark.parametrize('network, arguments, words', [
    ('ViTAE', dict(arch=dict(TINY, embed_dims=[16, 32], pyramid_dims=[8, 16])), ['3 entries', '(16, 32)', '(8, 16)']),
    ('ViTAE', dict(arch=dict(TINY, embed_dims=[16, 32], pyramid_dims=[])), ['1 and 0', '(16, 32)', '()']),
    ('ViTAE', dict(arch=dict(TINY, embed_dims=[16, 16, 32, 32], pyramid_dims=[8, 8, 16, 16])), ['3 entries']),
    *[('ViTAE', dict(arch=dict(TINY, pyramid_dims=[8, 8, last])), ['twice', f'(8, 8, {last})']) for last in (8, 32)],
    ('ViTAE', dict(arch=dict(TINY, groups=5)), ['groups', '32', '5']),
    ('ViTAE-plain', dict(img_size=0), ['img_size', '1', '0']),
    *[('ViTAEv2', dict(arch={key: values[:3] + values[3:] * (count - 3) for key, values in TINY_V2.items()}),
       ['4 entries']) for count in (3, 5)],
    ('ViTAEv2', dict(arch=dict(TINY_V2, attention=['window', 'window', 'global', 'local'])), ['attention', 'local']),
    ('ViTAEv2', dict(arch=dict(TINY_V2, reduction_heads=[1, 1, 2, 3])), ['reduction_heads', '128', '3']),
    ('ViTAE', dict(arch=dict(TINY, mlp_ratio=1.1)), ['mlp_ratio', 'divisible by groups', '1.1', '8']),
    ('ViTAEv2', dict(arch=dict(TINY_V2, embed_dims=[24, 32, 64, 128])), ['embed_dims', '16', '24']),
    ('ViTAEv2', dict(arch=dict(TINY_V2, pyramid_dims=[8, 16, 48, 64])), ['pyramid_dims', '32', '48']),
    ('ViTAEv2', dict(window_size=0), ['window_size', '1', '0']),
], ids=str)
def test_bad_arguments_are_named(network, arguments, words):
    with raises(ValueError, *words):
        fresh_model(network, **arguments)


@pytest.mark.parametrize('network', ['ViTAE', 'ViTAE-plain', 'ViTAEv2', 'ViTAEv2VSA'])
@torch.no_grad()
def test_dropout_of_normal_cells(network):
    model, x = fresh_model(network, drop_rate=0.5, drop_path_rate=0.), images()
    cell = [module for module in model.modules() if hasattr(module, 'conv_branch') and hasattr(module, 'drop_path')][-1]
    zeros = []
    for module in (cell.dropout, cell.mlp):
        module.register_forward_hook(lambda *args: zeros.append(args[-1].eq(0).float().mean().item()))
    model.train()(x)
    assert zeros == [pytest.approx(0.5, abs=0.2)] * 2
    plain = fresh_model(network).eval()
    plain.load_state_dict(model.state_dict())
    for a, b in zip(model.eval()(x), plain(x)):
        torch.testing.assert_close(a, b)


def test_published_rates_of_stochastic_depth():
    """A stage starts at the rate with the index of the previous stage's depth."""
    rates = [[round(100 * rate) for rate in stage] for stage in published_drop_paths(0.13, [2, 2, 8, 2])]
    assert rates == [[0, 1], [2, 3], [2, 3, 4, 5, 6, 7, 8, 9], [8, 9]]


@pytest.mark.parametrize('network', ['ViTAE', 'ViTAEv2', 'ViTAEv2VSA'])
def test_gradients_reach_cells_in_the_layout_of_their_maps(network):
    """Else, each linear layer before a residual connection copies its gradient."""
    model, strides = fresh_model(network).train(), []
    cells = [module for module in model.modules() if isinstance(module, BaseNormalCell)]
    for cell in cells:
        cell.register_full_backward_pre_hook(lambda cell, grads: strides.append(grads[0].is_contiguous()))
    sum(out.square().mean() for out in model(torch.rand(1, 3, 96, 64))).backward()
    assert strides == [True] * len(cells) and cells
