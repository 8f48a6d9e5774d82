"""Swin-VSA beyond the contract: what its definition promises."""
import torch
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.backbones import reswin, swin_vsa


@torch.no_grad()
def test_windows_that_stay_make_it_swin():
    """Without predictions and convolution, a block is Swin's with windows that are not shifted."""
    swin = reswin.Block(16, 2, window_size=4, mlp_ratio=2, drop_path=0.)
    block = swin_vsa.Block(16, 2, window_size=4, mlp_ratio=2, drop_path=0., context_position=False)
    predictors = block.load_state_dict(swin.state_dict(), strict=False).missing_keys
    assert all('sampling' in name for name in predictors)
    for name in predictors:
        block.get_parameter(name).zero_()
    x = torch.randn(2, 12, 8, 16)
    torch.testing.assert_close(block(x), swin(x, None, 0, None)[0], rtol=1e-4, atol=1e-5)


def test_context_positions_can_be_left_out():
    model = MODELS.build({'type': 'SwinVSA', **TINY_CONFIGS['SwinVSA'], 'context_position': False})
    assert not [name for name, _ in model.named_parameters() if 'position.conv' in name]
