"""Layer-wise and stage-wise learning rates, built from a config."""
import pytest
import torch
from helpers import raises
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS
from torch import nn

import mmvit_backbones  # noqa: F401  registers the constructor

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
    for name, group in settings.items():
        layer, num_layers = model.backbone.get_layer_depth(name, 'backbone.')
        assert group['lr'] == pytest.approx(LR * 0.5**(num_layers - 1 - layer)), name
        assert group['weight_decay'] == (0 if model.get_parameter(name).ndim == 1 else DECAY), name
    assert settings['head.weight']['lr'] == LR


@pytest.mark.parametrize('network', ['ResT', 'ReSwin'])
def test_every_stage_has_its_rate(network):
    model, settings = groups(network, decay_rate=0.5, decay_type='stage_wise')
    for stage in range(4):
        of_stage = {id(p) for p in model.backbone.stages[stage].parameters()}
        rates = {settings[name]['lr'] for name, p in model.named_parameters() if id(p) in of_stage}
        assert rates == {LR * 0.5**(4 - stage)}
    assert settings['head.weight']['lr'] == settings['backbone.norm3.weight']['lr'] == LR


def test_patch_embedding_goes_with_its_stage():
    _, settings = groups('ResT', decay_rate=0.5, decay_type='stage_wise')
    assert settings['backbone.patch_embeds.2.conv.weight']['lr'] == settings['backbone.stages.2.0.attn.q.weight']['lr']


def test_vectors_are_not_decayed():
    _, settings = groups('ResT', decay_rate=0.9)
    for name, group in settings.items():
        dims = dict(weight=2, bias=1)[name.rsplit('.', 1)[-1]]
        is_vector = dims == 1 or 'norm' in name
        assert group['weight_decay'] == (0 if is_vector else DECAY), name


def test_custom_keys_keep_their_options():
    _, settings = groups('ReSwin', decay_rate=0.5, custom_keys=dict(
        relative_position_bias_table=dict(decay_mult=0.), head=dict(lr_mult=10.)))
    table = settings['backbone.stages.3.blocks.0.attn.position_bias.relative_position_bias_table']
    assert table['weight_decay'] == 0 and table['lr'] == LR * 0.5
    assert settings['head.weight']['lr'] == 10 * LR


def test_groups_are_few_and_logged(logged):
    _, settings = groups('ResT', decay_rate=0.9, decay_type='stage_wise')
    distinct = {id(group) for group in settings.values()}
    assert len(distinct) == 2 * 5  # with and without weight decay: four stages and the head; the stem is frozen
    assert 'stage_wise decay 0.9, 10 groups' in logged.text
    lines = logged.text[logged.text.index('10 groups'):].splitlines()[1:11]
    numbers = [int(line.split()[-2]) for line in lines]
    assert sum(numbers) == len(settings) and min(numbers) > 0
    texts = [line.rpartition(':')[0].strip() for line in lines]
    assert {texts[0], texts[1]} == {f'lr 0.000656 (x 0.656), weight decay {decay}' for decay in ('0', '0.05')}
    assert {texts[8], texts[9]} == {f'lr 0.001 (x 1), weight decay {decay}' for decay in ('0', '0.05')}


def test_rate_of_one_is_no_decay():
    _, settings = groups('ResT', decay_rate=1.)
    assert {group['lr'] for group in settings.values()} == {LR} and len({id(group) for group in settings.values()}) == 2


def test_options_for_vectors_can_be_set():
    _, settings = groups('ResT', decay_rate=0.9, norm_decay_mult=0.5, bias_decay_mult=2.)
    assert settings['backbone.stages.2.0.norm1.weight']['weight_decay'] == 0.5 * DECAY
    assert settings['head.bias']['weight_decay'] == 2 * DECAY and settings['head.weight']['weight_decay'] == DECAY


def test_optimizer_without_weight_decay_keeps_its_default(logged):
    _, settings = groups('ResT', dict(lr=LR), decay_rate=0.9)
    assert {group['weight_decay'] for group in settings.values()} == {torch.optim.AdamW([nn.Parameter()]).defaults[
        'weight_decay']}
    assert {group['lr'] for group in settings.values()} > {LR} and 'default weight decay:' in logged.text


def test_learning_rate_is_required():
    with raises(ValueError, 'optimizer.lr'):
        groups('ResT', dict(weight_decay=DECAY), decay_rate=0.9)


@pytest.mark.parametrize('options, words', [
    (dict(), ('decay_rate', 'None')), (dict(decay_rate=1.5), ('decay_rate', '1.5', 'at most 1')),
    (dict(decay_rate=0), ('decay_rate', 'above 0')), (dict(decay_rate=-0.5), ('decay_rate', '-0.5')),
    (dict(decay_rate=0.9, decay_type='block_wise'), ('decay_type', 'block_wise', 'layer_wise', 'stage_wise'))])
def test_bad_options_are_named(options, words):
    with raises(ValueError, *words):
        groups('ResT', **options)


def test_model_without_our_backbone_is_an_error():
    with pytest.raises(ValueError, match='Linear'):
        build_optim_wrapper(nn.Linear(2, 2), dict(
            constructor='LayerDecayConstructor', paramwise_cfg=dict(decay_rate=0.9),
            optimizer=dict(type='AdamW', lr=LR)))
