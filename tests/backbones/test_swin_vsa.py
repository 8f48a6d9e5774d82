"""Swin-VSA before training, compared with Swin Transformer."""
import torch
from mmengine.registry import MODELS

from mmvit_backbones.backbones.reswin import Windows
from mmvit_backbones.ops.window import relative_position_index


@torch.no_grad()
def test_new_block_is_a_swin_block_after_a_position_encoding():
    """Training starts from ordinary windows, which are not shifted, and the encoding stays in the residual stream."""
    sizes = dict(channels=16, num_heads=2, mlp_ratio=2, drop_path=0.)
    swin = MODELS.build(dict(type='ReSwin', window_size=4)).make_block(**sizes)
    block = MODELS.build(dict(type='SwinVSA', arch=dict(embed_dims=16, depths=[1], num_heads=[2], window_size=4,
                                                        mlp_ratio=2), out_indices=0)).stages[0].blocks[0]
    keys = block.load_state_dict(swin.state_dict(), strict=False)
    assert not keys.unexpected_keys and all('position.' in key or 'predictor' in key for key in keys.missing_keys)
    x = torch.randn(2, 12, 8, 16)
    encoded, index = block.position(x), relative_position_index(4, x.device)
    torch.testing.assert_close(block(x), swin(encoded, None, Windows(index))[0], rtol=1e-4, atol=1e-5)
