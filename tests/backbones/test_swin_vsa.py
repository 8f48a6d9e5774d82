"""The definition of Swin-VSA, compared with Swin Transformer."""
import torch
from mmengine.registry import MODELS

from mmvit_backbones.layers import Handover


@torch.no_grad()
def test_block_equals_a_swin_block_if_windows_keep_position_and_size():
    """Without position encoding and with predictions of 0, the block is a Swin block without shifted windows."""
    sizes = dict(channels=16, num_heads=2, mlp_ratio=2, drop_path=0.)
    swin = MODELS.build(dict(type='ReSwin', window_size=4)).make_block(**sizes)
    block = MODELS.build(dict(type='SwinVSA', window_size=4)).make_block(**sizes)
    block.position = torch.nn.Identity()
    predictors = block.load_state_dict(swin.state_dict(), strict=False).missing_keys
    assert all('sampling' in name for name in predictors)
    for name in predictors:
        block.get_parameter(name).zero_()
    x = torch.randn(2, 12, 8, 16)
    torch.testing.assert_close(block(x), swin(x, None, Handover(), 0, None), rtol=1e-4, atol=1e-5)
