"""Tests as in timm's tests/test_models.py, on a tiny network of every family."""
from functools import cache

import pytest
import torch
from helpers import raises
from tiny_configs import NAMES, TINY_CONFIGS

timm = pytest.importorskip('timm')

import mmvit_backbones.integrations.timm  # noqa: E402, F401
from mmvit_backbones import list_models  # noqa: E402
from mmvit_backbones.zoo.variants import VARIANTS  # noqa: E402

each = pytest.mark.parametrize('network', sorted(NAMES))


def create(network: str, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    config = {key: value for key, value in TINY_CONFIGS[network].items() if key not in ('type', 'stage_norm')}
    return timm.create_model(f'mmvit_{NAMES[network]}', **{**config, 'num_classes': 7, **arguments})


@cache
def shared(network: str) -> torch.nn.Module:
    return create(network).eval()


def images(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 64, 64)


def test_every_family_is_tested():
    assert NAMES.keys() == TINY_CONFIGS.keys()
    assert {VARIANTS[name].family.name for name in NAMES.values()} == {v.family.name for v in VARIANTS.values()}


@each
@torch.no_grad()
def test_forward(network):
    model = shared(network)
    x = images()
    logits = model(x)
    assert logits.shape == (2, 7) and logits.isfinite().all()
    features = model.forward_features(x)
    assert torch.equal(model.forward_head(features), logits)
    assert model.forward_head(features, pre_logits=True).shape == (2, model.num_features)


@each
def test_backward(network):
    model = create(network).train()
    out = model(images())
    out.square().mean().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None] and not out.isnan().any()


@each
@torch.no_grad()
def test_classifier_can_be_reset(network):
    model = create(network).eval()
    x = images()
    features = model.forward_features(x)
    assert model.get_classifier().out_features == model.num_classes == 7
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)
    model.reset_classifier(0)
    assert model(x).shape == (2, model.num_features) and isinstance(model.get_classifier(), torch.nn.Identity)
    model.reset_classifier(0, '')
    torch.testing.assert_close(model(x), features)
    bare = create(network, num_classes=0, global_pool='').eval()
    assert bare(x).shape == features.shape


@each
@torch.no_grad()
def test_default_cfg_names_existing_layers(network):
    model = shared(network)
    cfg, state_dict = model.default_cfg, model.state_dict()
    assert cfg is model.pretrained_cfg and cfg['num_classes'] == 7
    assert f'{cfg["classifier"]}.weight' in state_dict and f'{cfg["first_conv"]}.weight' in state_dict
    assert timm.data.resolve_data_config({}, model=model)['mean'] == cfg['mean']
    if cfg['pool_size']:  # None for tokens, as in timm's vision transformers
        assert model.forward_features(torch.zeros(1, *cfg['input_size'])).shape[2:] == cfg['pool_size']


@each
@torch.no_grad()
def test_intermediates(network):
    model = shared(network)
    x = images()
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert [m.shape[1] for m in maps] == [info['num_chs'] for info in model.feature_info]
    assert [64 // m.shape[-1] for m in maps] == [info['reduction'] for info in model.feature_info]
    final, (last, ) = model.forward_intermediates(x, indices=1)
    assert torch.equal(final, model.forward_features(x)) and torch.equal(last, maps[-1])


@each
def test_gradient_checkpointing_gives_the_same_gradients(network):
    gradients = []
    for enable in (False, True):
        model = create(network, drop_path_rate=0.).train()
        model.set_grad_checkpointing(enable)
        torch.manual_seed(1)
        model(images()).square().mean().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, recomputed in zip(*gradients):
        torch.testing.assert_close(plain, recomputed)


@each
def test_parameters_are_grouped(network):
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay
    model = shared(network)
    assert all(name in dict(model.named_parameters()) for name in model.no_weight_decay())
    for coarse in (False, True):
        groups = timm.models.group_parameters(model, model.group_matcher(coarse))
        assert sum(map(len, groups.values())) == len(list(model.parameters())) and len(groups) > 2
        assert 'head.fc.weight' in groups[max(groups)]
    decayed = param_groups_layer_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.5)
    assert min(group['lr_scale'] for group in decayed) < 0.5
    groups = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    skipped = [p for group in groups if group['weight_decay'] == 0. for p in group['params']]
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in skipped} >= set(model.no_weight_decay())


@each
@torch.no_grad()
def test_state_dict_round_trip(network, tmp_path):
    model = shared(network)
    path = tmp_path / 'model.pth'
    torch.save(model.state_dict(), path)
    x = images()
    assert torch.equal(create(network, checkpoint=str(path)).eval()(x), model(x))
    assert torch.equal(create(network, checkpoint_path=str(path)).eval()(x), model(x))  # by timm's own loader
    # With another number of classes and of input channels.
    other = create(network, pretrained=True, pretrained_cfg_overlay=dict(file=str(path)), num_classes=4, in_chans=1)
    assert other.eval()(x[:, :1]).shape == (2, 4)


def test_published_weights_are_in_timms_registry():
    assert set(timm.list_models('mmvit_*')) == {f'mmvit_{name}' for name in list_models()}
    assert {'mmvit_restv2_tiny', 'mmvit_restv2_tiny.384', 'mmvit_vitae_base.22k'} <= set(
        timm.list_models('mmvit_*', pretrained=True))
    cfg = timm.get_pretrained_cfg('mmvit_restv2_tiny.384')
    assert cfg.input_size == (3, 384, 384) and cfg.tag == '384'


def test_img_size_sets_the_size_of_the_position_embedding():
    assert create('RefinerViT', img_size=64).backbone.embed.positions.pos_embed.shape[1] == 4 * 4 + 1
    assert create('ReSwin', img_size=(64, 64))(images()).shape == (2, 7)
    with raises(ValueError, 'img_size', '(64, 96)'):
        create('ReSwin', img_size=(64, 96))


def test_unsupported_arguments_are_refused():
    with raises(ValueError, 'restv2_tiny', '512', '384'):
        timm.create_model('mmvit_restv2_tiny.512', pretrained=True)
    with raises(ValueError, 'global_pool', 'max'):
        create('ReSwin', global_pool='max')
    with raises(ValueError, 'cache_dir', 'here'):
        create('ReSwin', cache_dir='here')
    with raises(ValueError, 'output_fmt', 'NCHW', 'NLC'):
        shared('ReSwin').forward_intermediates(images(), output_fmt='NLC')
