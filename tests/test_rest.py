"""ResT: output norms, settings, checkpoint layouts."""
import pytest
import torch
from golden import fill_state_dict
from mmengine.registry import MODELS
from test_goldens import GOLDENS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones import convert_state_dict
from mmvit_backbones.checkpoints import rest


def build(network: str = 'ResT', **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(dict(type=network, **{**TINY_CONFIGS[network], **arguments})).eval()
    for stage in model.normed_stages:
        torch.nn.init.normal_(model.output_norm(stage).weight)
    return model


@torch.no_grad()
def test_norms_in_the_stream_change_later_stages():
    images = torch.randn(1, 3, 64, 64)
    side, stream = build(out_norm='side'), build(out_norm='in_stream')
    assert torch.equal(side(images)[0], stream(images)[0])
    assert not torch.allclose(side.forward_stages(images)[1], stream.forward_stages(images)[1])
    x = stream(images)[0]
    for block in [stream.patch_embeds[1], *stream.stages[1]]:
        x = block(x)
    torch.testing.assert_close(x.permute(0, 3, 1, 2), stream.forward_stages(images)[1])


@torch.no_grad()
def test_a_stage_that_is_not_asked_for_has_no_norm():
    images = torch.randn(1, 3, 64, 64)
    side, stream = (build(out_norm=out_norm, out_indices=(1, 2, 3)) for out_norm in ('side', 'in_stream'))
    assert not hasattr(stream, 'norm0')
    assert torch.equal(side(images)[0], stream(images)[0])
    assert not torch.allclose(side(images)[1], stream(images)[1])


@pytest.mark.parametrize('network', ['ResT', 'ResTv2'])
@torch.no_grad()
def test_without_output_norms_maps_are_raw(network):
    model, raw = build(network, out_norm='side'), build(network, out_norm=None)
    raw.load_state_dict(model.state_dict())  # the checkpoint's norms are left out
    images = torch.randn(1, 3, 64, 64)
    for a, b, c in zip(raw(images), raw.forward_stages(images), model.forward_stages(images)):
        assert torch.equal(a, b) and torch.equal(a, c)


@pytest.mark.parametrize('arguments, told', [
    (dict(out_norm='inside'), 'out_norm'),
    (dict(arch=dict(TINY_CONFIGS['ResT']['arch'], num_heads=[3, 2, 4, 8])), 'num_heads'),
    (dict(arch=dict(TINY_CONFIGS['ResT']['arch'], reductions=[3, 2, 1, 1])), 'reductions'),
    (dict(arch=dict(TINY_CONFIGS['ResT']['arch'], depths=[1, 1, 1])), 'depths'),
    (dict(arch=dict(TINY_CONFIGS['ResT']['arch'], embed_dims=15)), 'embed_dims'),
])
def test_bad_settings_are_named(arguments, told):
    with pytest.raises(ValueError, match=told):
        build(**arguments)


@pytest.mark.parametrize('name', ['golden_rest_lite', 'golden_restv2_tiny'])
@pytest.mark.parametrize('wrap', [
    lambda w: dict(model=w, optimizer={}, epoch=3, model_ema=w), lambda w: dict(state_dict=w, meta={}),
    lambda w: dict(model={f'module.{key}': value for key, value in w.items()}),
    lambda w: dict(model={f'backbone.bottom_up.{key}': value for key, value in w.items()} | dict.fromkeys([
        'backbone.fpn_lateral2.weight', 'proposal_generator.rpn_head.conv.weight', 'roi_heads.box_head.fc1.bias',
        'head.cls_score.weight', 'pixel_mean'])),
    lambda w: dict(state_dict={f'backbone.{key}': value for key, value in w.items()} | dict.fromkeys([
        'decode_head.conv_seg.weight', 'auxiliary_head.conv_seg.bias'])),
], ids=['model', 'state_dict', 'module', 'detector', 'segmenter'])
def test_wrappers(name, wrap):
    variant = GOLDENS[name]['variant']
    weights = {key: torch.zeros(shape) for key, shape in GOLDENS[name]['state_dict'].items()}
    assert convert_state_dict(variant, wrap(weights)).keys() == convert_state_dict(variant, weights).keys()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['golden_rest_lite_det', 'golden_restv2_tiny_det', 'golden_restv2_tiny_seg'])
def test_dense_layouts_fill_every_norm(name):
    golden = GOLDENS[name]
    weights = convert_state_dict(golden['variant'], fill_state_dict(golden['state_dict']), 'backbone')
    assert {f'norm{stage}.weight' for stage in range(4)} <= weights.keys()


def test_versions_are_told_apart():
    first, second = (dict.fromkeys(GOLDENS[name]['state_dict'], torch.zeros(1))
                     for name in ('golden_rest_lite', 'golden_restv2_tiny'))
    with pytest.raises(KeyError, match=r'stem\.conv1\.weight'):
        rest.convert_v2(first)
    with pytest.raises(KeyError, match=r'stem\.proj\.0\.weight'):
        rest.convert(second)
