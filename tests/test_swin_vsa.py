"""Swin-VSA beyond the contract: what its definition promises, and which checkpoints there are."""
import pytest
import torch
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones import convert_state_dict, get_model


@torch.no_grad()
def test_windows_that_stay_make_it_swin():
    """Without predictions and convolution, a block is Swin's with windows that are not shifted."""
    sizes = dict(channels=16, num_heads=2, window_size=4, mlp_ratio=2, drop_path=0.)
    swin = MODELS.build(dict(type='ReSwin')).make_block(**sizes)
    block = MODELS.build(dict(type='SwinVSA', context_position=False)).make_block(**sizes)
    predictors = block.load_state_dict(swin.state_dict(), strict=False).missing_keys
    assert all('sampling' in name for name in predictors)
    for name in predictors:
        block.get_parameter(name).zero_()
    x = torch.randn(2, 12, 8, 16)
    torch.testing.assert_close(block(x), swin(x, None, 0, None)[0], rtol=1e-4, atol=1e-5)


def test_context_positions_can_be_left_out():
    model = MODELS.build({'type': 'SwinVSA', **TINY_CONFIGS['SwinVSA'], 'context_position': False})
    assert not [name for name, _ in model.named_parameters() if 'position.conv' in name]


def test_checkpoints(tmp_path):
    """Ours load; that there is none of the authors' is said."""
    small = TINY_CONFIGS['SwinVSA']
    model = get_model('swin_vsa_tiny', 'backbone', **small)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'ours.pth')
    loaded = get_model('swin_vsa_tiny', 'backbone', str(tmp_path / 'ours.pth'), **small)
    assert all(torch.equal(x, loaded.state_dict()[name]) for name, x in model.state_dict().items())
    other = {'layers.0.blocks.0.attn.qkv.weight': torch.zeros(1)}
    torch.save(other, tmp_path / 'authors.pth')
    with pytest.raises(ValueError, match='no checkpoint of Swin-VSA is published'):
        get_model('swin_vsa_tiny', 'backbone', str(tmp_path / 'authors.pth'), **small)
    with pytest.raises(KeyError, match='no checkpoint of Swin-VSA is published'):
        convert_state_dict('swin_vsa_tiny', other)
