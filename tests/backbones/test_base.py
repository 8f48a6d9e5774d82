"""Arguments, maps, freezing, layers and loading of the base class, tested with a few networks.

``tests/test_contract.py`` tests what all networks have in common.
"""
import inspect
from dataclasses import asdict, fields, replace
from io import BytesIO

import pytest
import torch
from helpers import fresh_model, images, raises, shared_model
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint
from tiny_configs import TINY_CONFIGS
from torch import nn

from mmvit_backbones import backbones
from mmvit_backbones.backbones.arch import resolve_arch
from mmvit_backbones.errors import UsageError

ARCH = TINY_CONFIGS['ReSwin']['arch']

# ---- arguments


@pytest.mark.parametrize('arguments, words', [
    *[(dict(out_indices=indices), ['out_indices', 'from 0 to 3', indices])
      for indices in [(), (-1, 0), (1, 0), (0, 0), (3, 4)]],
    *[(dict(frozen_stages=stages), ['frozen_stages', 'from -1 to 4', stages, 'blocks']) for stages in (-2, 5, 12)],
    (dict(arch='huge'), ['arch', 'huge', 'tiny']),
    (dict(in_channels=0), ['in_channels', 'at least 1', '0']),
    *[({name: value}, [name, value]) for name, value in [
        ('frozen_stages', 'all'), ('frozen_stages', True), ('out_indices', (0., )), ('in_channels', 3.)]],
    (dict(arch={**ARCH, 'extra': 1}), ['arch', 'exactly', 'extra']),
    (dict(arch={**ARCH, 1: 1}), ['arch', 'exactly', 1]),
    (dict(arch={**ARCH, 'depths': [1, 1, 1]}), ['arch', 'depths', '3', '4']),
    (dict(arch={**ARCH, 'num_heads': [1, 2, 4, 3]}), ['num_heads', '128', '3']),
    (dict(arch={**ARCH, 'embed_dims': 0}), ['embed_dims', 'positive', '0']),
    (dict(arch={**ARCH, 'window_size': True}), ['window_size', 'int', 'True']),
    (dict(window_size=0), ['window_size', 'at least 1', '0']),
], ids=str)
def test_wrong_arguments_are_named(arguments, words):
    with raises(ValueError, *words):
        fresh_model('ReSwin', **arguments)


@pytest.mark.enumerates
@pytest.mark.parametrize('network', [name for name in backbones.__all__ if name != 'Backbone'])
def test_all_arguments_are_listed_and_documented(network):
    """``help`` and editors show the arguments of a network."""
    cls = getattr(backbones, network)
    arguments = inspect.signature(cls).parameters
    assert {'arch', 'in_channels', 'out_indices', 'frozen_stages', 'norm_eval', 'with_cp', 'drop_path_rate',
            'init_cfg'} <= set(arguments)
    assert [name for name in arguments if f' {name} (' not in cls.__doc__] == []
    for arch in cls.arch_zoo.values():
        documented = ''.join(base.__doc__ or '' for base in type(arch).__mro__)
        assert [field.name for field in fields(arch) if f' {field.name} (' not in documented] == []


def test_settings_are_a_name_a_dataclass_or_a_dict():
    tiny = backbones.ReSwin.arch_zoo['tiny']
    assert resolve_arch('tiny', backbones.ReSwin.arch_zoo) is tiny
    as_lists = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(tiny).items()}
    assert resolve_arch(as_lists, backbones.ReSwin.arch_zoo) == tiny and hash(tiny)
    smaller = replace(tiny, embed_dims=24, depths=[1, 1, 2, 1])
    assert backbones.ReSwin(smaller).channels == (24, 48, 96, 192) and smaller.depths == (1, 1, 2, 1)
    with raises(ValueError, 'num_heads', '4', '3'):
        replace(tiny, num_heads=(3, 6, 12))


@pytest.mark.parametrize('shape', [(3, 32, 32), (2, 3, 32, 32, 1), (32, 3, 32), (2, 2, 32, 32), (2, 4, 32, 32),
                                   (2, 3, 0, 32), (2, 3, 32, 0)], ids=str)
def test_wrong_images_are_named(shape):
    with raises(ValueError, 'images', shape):
        shared_model('ReSwin')(torch.zeros(shape))


@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::UserWarning')
def test_old_tracers_are_refused():
    model, x = shared_model('ReSwin'), images(8, 8, batch=1)
    with raises(UsageError, 'torch.jit.trace', 'torch.export', 'dynamo=True'):
        torch.jit.trace(model, x)
    with raises(UsageError, 'torch.export', 'dynamo=True'):
        torch.onnx.export(model, (x, ), BytesIO(), dynamo=False)


# ---- maps


@torch.no_grad()
def test_stages_after_the_last_output_are_not_computed():
    model, called = fresh_model('ReSwin', out_indices=(0, 1)).eval(), []
    for stage in range(4):
        model.stage_modules(stage)[0].register_forward_hook(lambda *_, stage=stage: called.append(stage))
    model(images())
    assert called == [0, 1]


# ---- freezing and layers


# Prefixes of parameters from the first layer to the last; those in one string have the same learning rate.
LAYERS = {
    'ReSwin': ['patch_embed', 'stages.0.blocks.0 stages.0.downsample', 'stages.1.blocks.0',
               'stages.1.blocks.1 stages.1.downsample', 'stages.2.blocks.0 stages.2.downsample', 'stages.3.blocks.0',
               'norm0 norm3'],
    'ReMViTv2': ['patch_embed', 'blocks.0', 'blocks.1 gate', 'blocks.2', 'blocks.3', 'blocks.4', 'norm0 norm3'],
    'RegionViT': ['local_embed region_embed', 'stages.0.blocks.0 stages.0.peg norm0', 'stages.1.projection '
                  'stages.1.blocks.0 stages.1.peg norm1', 'stages.2.projection stages.2.blocks.0 norm2',
                  'stages.3.projection stages.3.blocks.0 stages.3.peg', 'norm3'],
    'ResT': ['patch_embeds.0', 'stages.0.0', 'patch_embeds.1 stages.1.0', 'patch_embeds.2 stages.2.0', 'stages.2.1',
             'patch_embeds.3 stages.3.0', 'norm0 norm3'],
    'ViTAE': ['reductions.0', 'reductions.1', 'reductions.2', 'cells.0', 'cells.1', 'cells.2', None],
}


@pytest.mark.parametrize('network', LAYERS)
def test_layers_of_the_learning_rate_decay(network):
    model, layers = shared_model(network), LAYERS[network]
    names = [name for name, _ in model.named_parameters()]
    for depth, prefixes in enumerate(layers):
        for prefix in (prefixes or '').split():
            found = {model.get_layer_depth(f'backbone.{name}', 'backbone.')
                     for name in names if name.startswith(f'{prefix}.')}
            assert found == {(depth, len(layers))}, prefix
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (len(layers) - 1, len(layers))


@pytest.mark.parametrize('network, names', [
    ('ReSwin', ['patch_embed.proj.bias', 'stages.0.downsample.norm.bias', 'stages.1.blocks.0.norm1.bias',
                'stages.2.blocks.0.norm1.bias', 'stages.3.blocks.0.norm1.bias', 'norm0.bias']),
    ('ResT', ['patch_embeds.0.norm1.bias', 'stages.0.0.norm1.bias', 'patch_embeds.1.norm.bias',
              'stages.2.0.norm1.bias', 'stages.3.0.norm1.bias', 'norm3.bias'])])
def test_stages_of_the_learning_rate_decay(network, names):
    depths = [shared_model(network).get_stage_depth(f'backbone.{name}', 'backbone.') for name in names]
    assert depths == [(depth, 6) for depth in range(6)]
    assert shared_model(network).get_stage_depth('head.fc.weight', 'backbone.') == (5, 6)


# ---- loading and initialization


def changed(model: nn.Module) -> nn.Module:
    """Changes all parameters, as training does."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    return model


def same(first: dict, second: dict) -> bool:
    return all(torch.equal(x, second[name]) for name, x in first.items())


@pytest.mark.parametrize('by_init_cfg', [True, False], ids=['init_cfg', 'load_from'])
def test_a_checkpoint_of_a_classifier_loads_into_the_backbone_of_a_detector(by_init_cfg, tmp_path, logged):
    """Output norms that the checkpoint lacks keep their initial values, and are named."""
    def load(weights: dict, **arguments) -> nn.Module:
        torch.save(dict(state_dict=weights, meta={}), tmp_path / 'weights.pth')
        logged.clear()
        if by_init_cfg:
            pretrained = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
            arguments['init_cfg'] = pretrained
        model = fresh_model('ReSwin', **arguments)
        if by_init_cfg:
            model.init_weights()
        else:  # as MMEngine's runner loads load_from
            load_checkpoint(model, str(tmp_path / 'weights.pth'), logger=MMLogger.get_current_instance())
        return model

    def names_first_three() -> bool:
        return any(all(f'norm{i}' in text for i in range(3)) and 'norm3' not in text for text in logged.messages)

    classifier = changed(fresh_model('ReSwin', out_indices=3))
    model = load(classifier.state_dict())
    assert same(classifier.state_dict(), model.state_dict())
    assert same({f'norm{i}.weight': torch.ones(16 * 2**i) for i in range(3)}, model.state_dict())
    assert names_first_three()
    assert same(load(model.state_dict(), out_indices=3).state_dict(), model.state_dict())
    assert names_first_three()
