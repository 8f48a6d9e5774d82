"""RegionViT: windows, masks, and weights of other networks."""
import copy

import pytest
import torch
from golden import fill_state_dict
from golden_files import GOLDENS
from helpers import raises

from mmvit_backbones import convert_state_dict, get_model
from mmvit_backbones.backbones import RegionViT
from mmvit_backbones.zoo.loading import load_weights

TINY = dict(local_embed='3conv', embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8], mlp_ratio=2.)


def build(local_embed: str = '3conv', **arguments) -> RegionViT:
    torch.manual_seed(0)
    return RegionViT(dict(TINY, local_embed=local_embed), **arguments)


# ---- windows and masks


@pytest.mark.parametrize('local_embed, largest', [('3conv', 224), ('1conv', 225)])
@torch.no_grad()
def test_images_larger_than_the_windows_can_cover_are_refused(local_embed, largest):
    model = build(local_embed, window_size=(14, 14, 14, 7)).eval()
    assert model(torch.rand(1, 3, 32, largest))[-1].shape[2:] == (1, 7)
    with raises(ValueError, f'32 x {largest + 1}', f'{largest} x {largest}', 'window_size'):
        model(torch.rand(1, 3, 32, largest + 1))
    with raises(ValueError, f'{largest + 1} x 32', 'window_size=14'):
        model(torch.rand(1, 3, largest + 1, 32))
    assert build(local_embed, window_size=14).eval()(torch.rand(1, 3, 32, largest + 1))[-1].shape[3] == 8


@torch.no_grad()
def test_shapes_with_one_convolution():
    """A single pixel beyond a multiple of 4 adds no token. At 57 pixels, the last window contains only padding."""
    model = build('1conv', window_size=7).eval()
    for height, width in [(2, 3), (57, 29), (85, 113)]:
        maps = model(torch.rand(1, 3, height, width))
        assert maps[0].shape[2:] == ((height + 2) // 4, (width + 2) // 4)
        assert all(x.isfinite().all() for x in maps)
    for size in [(1, 32), (32, 1)]:
        with raises(ValueError, 'images', '2 x 2'):
            model(torch.rand(1, 3, *size))
    assert len(build('1conv', in_channels=1).eval()(torch.rand(1, 1, 8, 8))) == 4


@torch.no_grad()
def test_regional_tokens_for_a_classifier():
    local, regional = build(window_size=7), build(window_size=7, out_tokens='regional')
    assert local.state_dict().keys() == regional.state_dict().keys()
    x = torch.rand(1, 3, 224, 224)
    assert [tuple(out.shape[1:]) for out in regional.eval()(x)] == [(16, 8, 8), (32, 4, 4), (64, 2, 2), (128, 1, 1)]
    with pytest.raises(ValueError, match='out_tokens'):
        build(out_tokens='global')


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@torch.no_grad()
def test_queries_without_allowed_keys_in_half_precision(dtype):
    """With 57 x 85 pixels, some padding tokens have no allowed key."""
    model, x = build('1conv', window_size=7).eval(), torch.rand(1, 3, 57, 85)
    for half, single in zip(copy.deepcopy(model).to(dtype)(x.to(dtype)), model(x)):
        assert ((half.float() - single).norm() / single.norm()).item() < 0.05


# ---- checkpoints


def authors_weights(golden: str) -> dict:
    return fill_state_dict(GOLDENS[golden]['state_dict'], torch.float32)


def test_a_classifier_checkpoint_loads_into_the_backbone_of_a_detector(logged):
    """Logs which weights are resized, and that the position encoding and stage norms keep their initial values."""
    weights = convert_state_dict('regionvit_tiny', authors_weights('golden_regionvit_tiny'), 'backbone')
    model = get_model('regionvit_tiny', 'backbone', window_size=14, peg=True, stage_norm=True)
    before = model.state_dict()['stages.2.peg.weight'].clone()
    load_weights(model, weights, 'classifier.pth')
    assert torch.equal(model.state_dict()['stages.2.peg.weight'], before) and model.norm3.weight.eq(1).all()
    assert model.state_dict()['region_embed.conv.weight'].shape[2:] == (56, 56)
    for words in ('resized from (2, 169) to (2, 729)', 'stages.*.peg', 'norm0, norm1, norm2, norm3'):
        assert words in logged.text
