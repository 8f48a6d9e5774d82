"""Weights are selected for a config."""
import runpy

import pytest
from helpers import ROOT, raises
from mmengine.config import Config
from tiny_configs import TINY_CONFIGS

from mmvit.configs.files import read_config
from mmvit.configs.official import source_of
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.zoo.variants import VARIANTS

BACKBONE = dict(type='ReSwin', **TINY_CONFIGS['ReSwin'])
TAGS = sorted({tag for variant in VARIANTS.values() for tag in variant.weights})
parse_config_name = runpy.run_path(str(ROOT / 'tools/dev/make_metafiles.py'))['parse_config_name']


def config_of(backbone: dict | None, name: str = 'my_config', **settings) -> Config:
    model = dict(type='Model', backbone=backbone, **settings.pop('model', {}))
    return Config(dict(model=model, **settings), cfg_text='not read', filename=f'configs/{name}.py')


# ---- choice of weights


@pytest.mark.parametrize('config, tag, name', [
    ('upernet_regionvit_s_plus', 'mask_rcnn_3x', 'official://regionvit_small_plus/mask_rcnn_3x'),
    ('mask_rcnn_restv2_t', '384', 'official://restv2_tiny/384'),
    ('imagenet_refiner_vit_l_448', True, 'official://refiner_vit_large'),
    ('imagenet_vitae_h', True, 'official://vitae_huge')])
def test_pretrained_weights_are_those_of_the_configs_backbone(config, tag, name):
    assert source_of(read_config(str(ROOT / f'configs/{config}.py')), None, tag) == name


def test_every_config_takes_the_weights_of_its_network_alone():
    """Even where another network has the same class and arch, and published weights, which would be resized."""
    for path in sorted(ROOT.glob('configs/*_re[fg]i*.py')):  # of Refiner-ViT and RegionViT, where several networks do
        _, variant, _ = parse_config_name(path.stem)
        cfg = read_config(str(path))
        for tag in [True, *TAGS]:
            if variant.has_weights(tag):
                assert source_of(cfg, None, tag).removeprefix('official://').split('/')[0] == variant.name
            else:
                with raises(CheckpointError, variant.name):
                    source_of(cfg, None, tag)


def test_settings_tell_networks_in_own_configs():
    """A number stands for one per stage, and an argument may be omitted."""
    for backbone, name in [(dict(arch='tiny'), 'regionvit_tiny'), (dict(arch='tiny', window_size=7), 'regionvit_tiny'),
                           (dict(arch='small', window_size=(14, ) * 4, stage_norm=True), 'regionvit_small_plus')]:
        cfg = config_of(dict(type='RegionViT', **backbone))
        tag = 'mask_rcnn' if name.endswith('plus') else True
        assert source_of(cfg, None, tag) == f'official://{name}' + ('' if tag is True else f'/{tag}')
    with raises(UsageError, 'my_config.py', 'official://NAME'):
        source_of(config_of(dict(type='RegionViT', arch='tiny', window_size=9)), None, True)


def test_checkpoint_and_pretrained_are_exclusive():
    cfg = config_of(BACKBONE)
    assert source_of(cfg, 'a.pth', None) == 'a.pth'
    for checkpoint, tag in ((None, None), ('a.pth', True)):
        with raises(UsageError, 'checkpoint', 'pretrained'):
            source_of(cfg, checkpoint, tag)
    for other in (BACKBONE, None):
        with raises(UsageError, 'pretrained=384', 'my_config.py', 'mmvit_backbones.list_models()'):
            source_of(config_of(other), None, '384')
