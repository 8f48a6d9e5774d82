"""Weights are selected for a config."""
import pytest
from helpers import ROOT, raises
from mmengine.config import Config
from tiny_configs import TINY_CONFIGS

from mmvit.configs.files import read_config
from mmvit.configs.official import source_of
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.settings import setting
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
        named = config_of(setting(variant).backbone, f'imagenet_{variant.short_name}_{tag}')
        assert source_of(named, None, tag) == f'official://{variant.name}/{tag}'
        found = source_of(config_of(setting(variant).backbone), None, tag).removeprefix('official://').split('/')
        other = VARIANTS[found[0]]
        assert found[1] == tag and (other.family.backbone, other.arch) == (variant.family.backbone, variant.arch)


def test_checkpoint_and_pretrained_are_exclusive():
    cfg = config_of(BACKBONE)
    assert source_of(cfg, 'a.pth', None) == 'a.pth'
    for checkpoint, tag in ((None, None), ('a.pth', True)):
        with raises(UsageError, 'checkpoint', 'pretrained'):
            source_of(cfg, checkpoint, tag)
    for other in (BACKBONE, None):
        with raises(UsageError, 'pretrained=384', 'my_config.py', 'mmvit_backbones.list_models()'):
            source_of(config_of(other), None, '384')
