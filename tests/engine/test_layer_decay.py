"""Layer-wise and stage-wise learning rates, built from a config."""
import copy
import pickle
from functools import cache

import pytest
import torch
from helpers import fresh_model, raises
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS
from torch import nn

from mmvit_backbones.engine import LayerDecayConstructor
from mmvit_backbones.errors import UsageError

LR, DECAY = 1e-3, 0.05


class Detector(nn.Module):
    """A backbone and a head."""

    def __init__(self, network: str) -> None:
        super().__init__()
        self.backbone = MODELS.build({'type': network, 'frozen_stages': 0, **TINY_CONFIGS[network]})
        self.head = nn.Linear(8, 8)


def groups(network: str, optimizer: dict | None = None, **options) -> tuple[nn.Module, dict[str, dict]]:
    """Returns a model and, by parameter name, the parameter groups of its optimizer."""
    model = Detector(network)
    optimizer = dict(type='AdamW', **(dict(lr=LR, weight_decay=DECAY) if optimizer is None else optimizer))
    wrapper = build_optim_wrapper(model, dict(
        constructor='LayerDecayConstructor', paramwise_cfg=options, optimizer=optimizer))
    names = {id(p): name for name, p in model.named_parameters()}
    return model, {names[id(p)]: group for group in wrapper.optimizer.param_groups for p in group['params']}


@pytest.mark.parametrize('network', sorted(TINY_CONFIGS))
def test_every_layer_has_its_rate(network):
    model, settings = groups(network, decay_rate=0.5)
    assert settings.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    exempt = {f'backbone.{name}' for name in model.backbone.no_weight_decay()}
    for name, group in settings.items():
        layer, num_layers = model.backbone.get_layer_depth(name, 'backbone.')
        assert group['lr'] == pytest.approx(LR * 0.5**(num_layers - 1 - layer)), name
        is_exempt = model.get_parameter(name).ndim == 1 or name in exempt
        assert group['weight_decay'] == (0 if is_exempt else DECAY), name
    assert settings['head.weight']['lr'] == LR


def rates_of_other(backbone: nn.Module, **options) -> dict[str, float]:
    model = nn.ModuleDict(dict(backbone=backbone, head=nn.Linear(8, 8)))
    wrapper = build_optim_wrapper(model, dict(
        constructor='LayerDecayConstructor', paramwise_cfg=options, optimizer=dict(type='AdamW', lr=1.)))
    names = {id(p): name.removeprefix('backbone.') for name, p in model.named_parameters()}
    return {names[id(p)]: group['lr'] for group in wrapper.optimizer.param_groups for p in group['params']}


@cache
def other_networks() -> dict[str, nn.Module]:
    """Returns networks on the meta device, because the groups of their parameters need no values."""
    import mmdet.models  # noqa: F401
    timm = pytest.importorskip('timm')
    from mmvit_backbones.integrations.timm_backbone import TimmBackbone
    assert timm
    with torch.device('meta'):
        networks = {name: TimmBackbone(name) for name in (
            'swin_tiny_patch4_window7_224', 'convnext_atto', 'pvt_v2_b0', 'vit_tiny_patch16_224', 'efficientnet_b0',
            'rdnet_tiny')}
        return networks | dict(resnet50=MODELS.build(dict(type='mmdet.ResNet', depth=50)))


def test_copies_of_a_network_of_timm_have_layers_of_their_own():
    network = other_networks()['pvt_v2_b0']
    name = next(name for name, _ in network.named_parameters())
    expected = network.get_layer_depth(name), network.get_stage_depth(name)
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert (copied.get_layer_depth(name), copied.get_stage_depth(name)) == expected
        assert copied.model is not network.model


def test_modules_that_several_ones_share_are_trained_once():
    """An optimizer updates what it has twice, twice per step."""
    model = Detector('ReSwin')
    model.blocks = nn.ModuleList([nn.Sequential(model.head), nn.Sequential(model.head)])
    wrapper = build_optim_wrapper(model, dict(constructor='LayerDecayConstructor', paramwise_cfg=dict(decay_rate=0.5),
                                              optimizer=dict(type='AdamW', lr=LR)))
    trained = [parameter for group in wrapper.optimizer.param_groups for parameter in group['params']]
    assert len(trained) == sum(parameter.requires_grad for parameter in model.parameters())


def test_other_networks_define_their_layers():
    networks = other_networks()
    stem = 'model.patch_embed.proj.weight'
    by_layer = rates_of_other(networks['swin_tiny_patch4_window7_224'], decay_rate=0.5)
    assert by_layer[stem] == 0.5**13 and by_layer['model.layers.3.blocks.1.mlp.fc2.weight'] == 0.5
    by_stage = rates_of_other(networks['swin_tiny_patch4_window7_224'], decay_rate=0.5, decay_type='stage_wise')
    assert by_stage[stem] == 0.5**5 and by_stage['model.layers.3.blocks.0.mlp.fc2.weight'] == 0.5
    by_layer = rates_of_other(networks['resnet50'], decay_rate=0.5)
    assert by_layer['conv1.weight'] == 0.5**17 and by_layer['layer1.0.conv1.weight'] == 0.5**16
    assert by_layer['layer4.2.conv3.weight'] == 0.5
    by_stage = rates_of_other(networks['resnet50'], decay_rate=0.5, decay_type='stage_wise')
    assert by_stage['bn1.weight'] == 0.5**5 and by_stage['layer4.0.conv1.weight'] == 0.5
    assert len({*rates_of_other(networks['rdnet_tiny'], decay_rate=0.5).values()}) > 4
    with raises(UsageError, 'rdnet_tiny', 'stages', 'layer_wise'):  # timm defines its layers alone
        rates_of_other(networks['rdnet_tiny'], decay_rate=0.5, decay_type='stage_wise')


@pytest.mark.parametrize('decay_rate', [1, 0.5])
def test_pretrained_layers_have_their_factor(decay_rate):
    """What is new, by default all but the backbone, has ``optimizer.lr``; the rest has the factor and the decay."""
    for new in None, ['head.bias', 'backbone.norm3', 'backbone.stages.1']:
        model, settings = groups('ReSwin', decay_rate=decay_rate, pretrained_mult=0.1, **(dict(new=new) if new else {}))
        for name, group in settings.items():
            layer, num_layers = model.backbone.get_layer_depth(name, 'backbone.')
            is_new = f'{name}.'.startswith(tuple(f'{part}.' for part in new or ['head']))
            rate = 1. if is_new else 0.1 * decay_rate**(num_layers - 1 - layer)
            assert group['lr'] == pytest.approx(LR * rate), name
    for name, group in settings.items():
        assert group['weight_decay'] == groups('ReSwin', decay_rate=0.9)[1][name]['weight_decay'], name
    rates = rates_of_other(nn.Linear(2, 2), decay_rate=1, pretrained_mult=0.1)  # a network without layers
    assert rates == {'weight': 0.1, 'bias': 0.1, 'head.weight': 1., 'head.bias': 1.}


@pytest.mark.parametrize('decay_type', ['layer_wise', 'stage_wise'])
def test_unknown_layers_are_an_error(decay_type):
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with raises(ValueError, decay_type, 'Sequential', 'decay_rate=1'):
        rates_of_other(network, decay_rate=0.9, decay_type=decay_type)
    assert set(rates_of_other(network, decay_rate=1, decay_type=decay_type).values()) == {1.}


def test_custom_keys_keep_their_options():
    _, settings = groups('ReSwin', decay_rate=0.5, custom_keys=dict(
        relative_position_bias_table=dict(decay_mult=1.), head=dict(lr_mult=10.)))
    table = settings['backbone.stages.3.blocks.0.attn.position_bias.relative_position_bias_table']
    assert table['weight_decay'] == DECAY and table['lr'] == LR * 0.5
    assert settings['head.weight']['lr'] == 10 * LR


def test_groups_are_few_and_logged(logged):
    _, settings = groups('ResT', decay_rate=0.9, decay_type='stage_wise')
    distinct = {id(group) for group in settings.values()}
    assert len(distinct) == 2 * 5  # with and without weight decay: four stages and the head; the stem is frozen
    assert f'stage_wise decay 0.9, 10 groups with rates from {LR * 0.9**4:.3g} to {LR:.3g}' in logged.text


@pytest.mark.parametrize('options, decay', [
    ({}, 0.), (dict(flat_decay_mult=.5), DECAY / 2), (dict(custom_keys=dict(gain=dict(decay_mult=2.))), 2 * DECAY)])
def test_scalars_have_no_weight_decay(options, decay):
    """Such as the gains of NFNets, which multiply a branch; unless options say otherwise."""
    model = fresh_model('ResT')
    model.gain = nn.Parameter(torch.zeros(()))
    whole = nn.ModuleDict(dict(backbone=model))
    cfg = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY))
    wrapper = LayerDecayConstructor(cfg, dict(decay_rate=1., **options))(whole)
    assert [group['weight_decay'] for group in wrapper.param_groups
            if any(each is model.gain for each in group['params'])] == [decay]


@pytest.mark.parametrize('options, words', [
    (dict(), ('decay_rate', 'None')), (dict(decay_rate=1.5), ('decay_rate', '1.5', 'at most 1')),
    (dict(decay_rate=0), ('decay_rate', 'above 0')), (dict(decay_rate=-0.5), ('decay_rate', '-0.5')),
    (dict(decay_rate=0.9, new=['neck']), ('new', 'neck', 'Detector')),
    (dict(decay_rate=0.9, new='head'), ('new', 'head', 'list')),
    (dict(decay_rate=0.9, decay_type='block_wise'), ('decay_type', 'block_wise', 'layer_wise', 'stage_wise'))])
def test_bad_options_are_named(options, words):
    with raises(ValueError, *words):
        groups('ResT', **options)
