"""Weights are selected for a config, and its backbone and pretrained weights are checked before a model is built."""
from contextlib import nullcontext

import pytest
import torch
from helpers import ROOT, fresh_model, raises
from mmengine.config import Config
from tiny_configs import TINY_CONFIGS

from mmvit.configs.backbone import build_on_meta, check_pretrained
from mmvit.configs.files import read_config
from mmvit.configs.official import source_of
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.variants import VARIANTS

BACKBONE = dict(type='ReSwin', **TINY_CONFIGS['ReSwin'])
PUBLISHED = [(variant, tag) for variant in VARIANTS.values() for tag in variant.weights]


def config_of(backbone: dict | None, name: str = 'my_config', **settings) -> Config:
    model = dict(type='Model', backbone=backbone, **settings.pop('model', {}))
    return Config(dict(model=model, **settings), cfg_text='not read', filename=f'configs/{name}.py')


# ---- choice of weights


@pytest.mark.parametrize('config, tag, name', [
    ('upernet_regionvit_s_plus', 'mask_rcnn_3x', 'official://regionvit_small_plus/mask_rcnn_3x'),
    ('upernet_regionvit_s_plus', True, 'official://regionvit_small'),  # the closest network with published weights
    ('mask_rcnn_restv2_t', '384', 'official://restv2_tiny/384'),
    ('imagenet_vitae_h', True, 'official://vitae_huge')])
def test_pretrained_weights_are_those_of_the_configs_backbone(config, tag, name):
    assert source_of(read_config(str(ROOT / f'configs/{config}.py')), None, tag) == name


def test_all_published_weights_are_found():
    """The name of the config matters only if several networks have the same backbone."""
    for variant, tag in PUBLISHED:
        named = config_of(variant.backbone, f'imagenet_{variant.short_name}_{tag}')
        assert source_of(named, None, tag) == f'official://{variant.name}/{tag}'
        found = source_of(config_of(variant.backbone), None, tag).removeprefix('official://').split('/')
        assert found[1] == tag and {key: VARIANTS[found[0]].backbone[key] for key in ('type', 'arch')} == {
            key: variant.backbone[key] for key in ('type', 'arch')}


def test_checkpoint_and_pretrained_are_exclusive():
    cfg = config_of(BACKBONE)
    assert source_of(cfg, 'a.pth', None) == 'a.pth'
    for checkpoint, tag in ((None, None), ('a.pth', True)):
        with raises(UsageError, 'checkpoint', 'pretrained'):
            source_of(cfg, checkpoint, tag)
    for other in (BACKBONE, None):
        with raises(UsageError, 'pretrained=384', 'my_config.py', 'mmvit_backbones.list_models()'):
            source_of(config_of(other), None, '384')


# ---- backbone


@pytest.mark.parametrize('key, value', [('arch', 'gigantic'), ('out_indices', (0, 4)), ('in_channels', 4),
                                        ('depth', 3)])
def test_bad_backbone_arguments(key, value):
    cfg = read_config(str(ROOT / 'tests/configs/mask_rcnn_reswin_t.py'))
    assert build_on_meta(cfg).in_channels == 3
    cfg.model.backbone[key] = value
    with raises(UsageError, 'model.backbone', key):
        build_on_meta(cfg)


@pytest.mark.parametrize('mean, is_right', [
    (None, True), ([], True), ([0.], True), ((0., 0., 0.), True), ([0.] * 2, False), ([0.] * 4, False)])
def test_number_of_channels(mean, is_right):
    """The mean has one number per channel, or one number for all; the model's preprocessor takes precedence."""
    other = dict(mean=[0.] * (4 if is_right else 3), std=None)
    for cfg in (config_of(BACKBONE, data_preprocessor=dict(mean=mean)),
                config_of(BACKBONE, data_preprocessor=other, model=dict(data_preprocessor=dict(mean=mean)))):
        with nullcontext() if is_right else raises(UsageError, 'data_preprocessor.mean', len(mean)):
            build_on_meta(cfg)


# ---- pretrained weights


def pretrained(checkpoint: object, **settings) -> dict:
    return dict(type='Pretrained', checkpoint=str(checkpoint), **settings)


def check(cfg: Config) -> None:
    check_pretrained(build_on_meta(cfg))


@pytest.mark.parametrize('prefix, own, is_right', [
    ('', 'backbone.', True), ('', '', True), ('backbone.', 'backbone.', True), ('backbone.', '', False)])
def test_pretrained_weights_must_match_the_backbone(prefix, own, is_right, tmp_path):
    weights = fresh_model('ReSwin').state_dict()
    torch.save(dict(state_dict={own + key: value for key, value in weights.items()}), tmp_path / 'weights.pth')
    with nullcontext() if is_right else raises(UsageError, 'weights.pth', 'prefix', "'state_dict.'"):
        check(config_of(dict(BACKBONE, init_cfg=pretrained(tmp_path / 'weights.pth', prefix=prefix))))


@pytest.mark.parametrize('init_cfg', [dict(type='Pretrained'), [dict(type='Pretrained', checkpoint=['a.pth'])]])
def test_pretrained_weights_without_a_file(init_cfg):
    with raises(UsageError, 'model.backbone.init_cfg.checkpoint', 'file or a URL'):
        check(config_of(dict(BACKBONE, init_cfg=init_cfg)))
