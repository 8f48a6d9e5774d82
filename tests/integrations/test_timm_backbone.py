"""Networks of timm are backbones with timm's own maps, for images of any size, and can be frozen."""
import pytest
import torch
import torch.nn.functional as F
from helpers import raises
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

timm = pytest.importorskip('timm')

from mmvit_backbones.errors import UsageError  # noqa: E402
from mmvit_backbones.integrations.timm_backbone import TimmBackbone  # noqa: E402

PLAIN = dict(depth=3, embed_dim=48, num_heads=3)
SMALL = {
    'vit_small_patch14_reg4_dinov2': PLAIN, 'vit_small_patch16_dinov3': PLAIN, 'eva02_tiny_patch14_224': PLAIN,
    'swin_tiny_patch4_window7_224': dict(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
    'convnext_atto': dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    'sam2_hiera_tiny': dict(embed_dim=16, stages=(1, 1, 1, 1), global_att_blocks=(2, ))}
each = pytest.mark.parametrize('name', SMALL)


def build(name: str, **options) -> TimmBackbone:
    torch.manual_seed(0)
    return MODELS.build(dict(type='TimmBackbone', name=name, **SMALL[name], **options))


@each
@pytest.mark.parametrize('norm', [True, False])
@torch.no_grad()
def test_maps_are_timms_own(name, norm):
    backbone = build(name, norm=norm, out_indices=(1, -1)).eval()
    whole = build(name).model.eval()
    torch.manual_seed(0)
    images = torch.randn(1, 3, 100, 70)
    stride = backbone.multiple
    padded = F.pad(images, (0, -70 % stride, 0, -100 % stride))
    indices = [backbone.levels[1], backbone.levels[-1]]
    expected = whole.forward_intermediates(padded, indices=indices, norm=backbone.norm, intermediates_only=True)
    maps = backbone(images)
    assert [x.shape[1] for x in maps] == backbone.channels
    assert [x.shape[2] for x in maps] == [-(-100 // stride) * stride // each for each in backbone.strides]
    for x, y in zip(maps, expected, strict=True):
        torch.testing.assert_close(x, y)


@each
@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 'all'])
def test_frozen_levels_get_no_gradients_and_no_states(name, frozen_stages):
    count = len(build(name).levels)
    backbone = build(name, frozen_stages=count if frozen_stages == 'all' else frozen_stages).train()
    model = nn.ModuleDict(dict(backbone=backbone, head=nn.Conv2d(backbone.channels[-1], 2, 1)))
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='AdamW', lr=1.), constructor='LayerDecayConstructor',
                                              paramwise_cfg=dict(decay_rate=0.9)))
    before = {key: x.clone() for key, x in backbone.state_dict().items()}
    maps = backbone(torch.randn(2, 3, 64, 64))
    wrapper.update_params(sum(x.square().mean() for x in maps) + model['head'](maps[-1]).square().mean())
    changed = {key for key, x in backbone.state_dict().items() if not torch.equal(x, before[key])}
    trained = {key for key, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert changed == trained and len(wrapper.optimizer.state) == len(trained) + 2
    assert bool(trained) is (frozen_stages != 'all') and (frozen_stages != -1 or trained == {
        key for key, _ in backbone.named_parameters()})
    frozen = [module for module in backbone.modules() if list(module.parameters())
              and not any(parameter.requires_grad for parameter in module.parameters())]
    assert not any(module.training for part in frozen for module in part.modules())
    assert bool(frozen) is (frozen_stages != -1)


def test_wrong_arguments_are_refused():
    for options, words in (
            (dict(frozen_stages=5), ['frozen_stages', 4, 5]), (dict(out_indices=(4, )), ['out_indices', 3]),
            (dict(out_indices=(2, 1)), ['out_indices', 'ascending']), (dict(out_indices=()), ['-4 to 3'])):
        with raises(UsageError, *words):
            build('convnext_atto', **options)
    with raises(UsageError, 'nothing', 'timm.list_models'):
        TimmBackbone('nothing')
