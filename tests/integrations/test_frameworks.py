"""The rows of docs/frameworks.md; what a framework does with a network is also tested without the framework."""
import re
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, Registry, init_default_scope

import mmvit_backbones

PAGE = (ROOT / 'docs/frameworks.md').read_text()
TINY = dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8))


@pytest.fixture
def named_maps(monkeypatch) -> type[torch.nn.Module]:
    """Returns the class for detectron2, which no index has, over the simplest base classes."""
    shape = namedtuple('ShapeSpec', 'channels stride')
    for name, content in dict(layers=dict(ShapeSpec=shape), modeling=dict(Backbone=torch.nn.Module)).items():
        monkeypatch.setitem(sys.modules, f'detectron2.{name}', SimpleNamespace(**content))
    text = (ROOT / 'docs/adapters.md').read_text(encoding='utf-8')
    code, = re.findall(r'^```py\n(from detectron2.*?)^```$', text, flags=re.MULTILINE | re.DOTALL)
    names = {'__name__': 'page'}
    exec(code, names)
    return names['NamedMaps']


def written(framework: str) -> dict:
    """Returns what the page says to write, as arguments of a dict."""
    row, = (line.split(' | ') for line in PAGE.splitlines() if line.startswith(f'| {framework}'))
    return eval(f'dict({", ".join(re.findall("`(.+?)`", row[1]))})')


def missing_gradients(model: torch.nn.Module, loss: torch.Tensor) -> set[str]:
    loss.backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is None}


# ---- how frameworks find the networks


def test_a_registry_of_another_framework_finds_the_networks():
    """As those of mmpose, mmrotate and open-cd, whose scope is the default one while they build."""
    child = Registry('model', parent=MODELS, scope='another_framework')
    with DefaultScope.overwrite_default_scope('another_framework'):
        for network in ('mmrotate', 'open-cd'):
            backbone = written(network)['backbone']
            assert child.build(backbone).channels == MODELS.build(backbone).channels == (96, 192, 384, 768)


@torch.no_grad()
def test_mmaction2_finds_the_network_by_mmpretrain_s_prefix():
    pytest.importorskip('mmpretrain')
    maps = MODELS.build(written('mmaction2')['backbone'])(torch.rand(2, 3, 64, 64))
    assert isinstance(maps, tuple) and [x.shape[1] for x in maps] == [written('mmaction2')['cls_head']['in_channels']]


# ---- what these frameworks read, without them


@pytest.mark.parametrize('encoder, depth', [('reswin_tiny', 5), ('vitae_tiny', 4)])
def test_smp_reads_maps_of_doubled_strides_through_timm(encoder, depth):
    """It takes the strides for powers of two, and one that is lacking at the start for a network without it."""
    timm = pytest.importorskip('timm')
    import mmvit_backbones.integrations.timm  # noqa: F401
    strides = timm.create_model(f'mm_{encoder}', features_only=True).feature_info.reduction()
    assert strides == [2**i for i in range(2, depth + 1)]


@pytest.mark.parametrize('network, arguments', [('reswin_tiny', {}), ('regionvit_tiny', dict(out_tokens='regional'))])
@torch.no_grad()
def test_detectron2_reads_names_channels_and_strides(named_maps, network, arguments):
    backbone = named_maps(mmvit_backbones.get_model(network, 'backbone', **arguments))
    shapes, maps = backbone.output_shape(), backbone(torch.rand(1, 3, 65, 97))
    assert list(maps) == list(shapes) == re.findall(r"'(stage\d)'", PAGE)
    for name, x in maps.items():
        stride = shapes[name].stride
        assert x.shape[1:] == (shapes[name].channels, -(-65 // stride), -(-97 // stride))


def test_heads_of_open_cd_read_the_maps_of_two_images():
    pytest.importorskip('mmseg')
    init_default_scope('mmseg')
    parts = written('open-cd')
    backbone, common = MODELS.build(parts['backbone']), dict(channels=8, num_classes=3)
    maps = [torch.cat(pair, 1) for pair in zip(*(backbone(torch.rand(2, 3, 64, 64)) for _ in range(2)))]
    head = MODELS.build(dict(type='UPerHead', in_index=[0, 1, 2, 3], **common, **parts['decode_head']))
    other = MODELS.build(dict(type='FCNHead', in_index=2, **common, **parts['auxiliary_head']))
    assert head(maps).shape == (2, 3, 16, 16) and other(maps).shape == (2, 3, 4, 4)


# ---- other kinds of configs, necks and trainings


def test_a_pure_python_config_takes_the_network(tmp_path):
    pytest.importorskip('mmdet')
    code, = re.findall(r'`(model\.merge\(.+\))` \|', PAGE)
    (tmp_path / 'base.py').write_text(
        'from mmdet.models import FPN, SwinTransformer\n'
        'model = dict(backbone=dict(type=SwinTransformer, embed_dims=96, window_size=7),\n'
        '             neck=dict(type=FPN, in_channels=[1, 2, 3, 4], out_channels=8, num_outs=5))\n')
    (tmp_path / 'mine.py').write_text(
        'from mmengine.config import read_base\nwith read_base():\n    from .base import *\n'
        f'from mmvit_backbones.backbones import ReSwin\n{code}\n')
    model = Config.fromfile(tmp_path / 'mine.py').model
    maps = MODELS.build(model.neck)(MODELS.build(model.backbone)(torch.rand(1, 3, 64, 64)))
    assert [x.shape[1:] for x in maps] == [(8, side, side) for side in (16, 8, 4, 2, 1)]


@pytest.mark.parametrize('is_written', [True, False])
def test_pyramids_from_the_second_stage_train_every_parameter(is_written):
    pytest.importorskip('mmdet')
    init_default_scope('mmdet')
    parts = written('FPN') if is_written else dict(
        backbone=dict(type='ReSwin', arch='tiny'), neck=dict(in_channels=[96, 192, 384, 768], start_level=1))
    neck = dict(type='FPN', out_channels=8, num_outs=5, add_extra_convs='on_input')
    model = torch.nn.Sequential(MODELS.build(parts['backbone']), MODELS.build(neck | parts['neck']))
    maps = model(torch.rand(1, 3, 64, 64))
    missing = missing_gradients(model, sum(x.sum() for x in maps))
    assert [x.shape[-1] for x in maps] == [8, 4, 2, 1, 1]
    assert missing == (set() if is_written else {'0.norm0.weight', '0.norm0.bias'})



# ---- frozen stages


@pytest.mark.parametrize('framework', ['mmdet', 'mmseg', 'mmpretrain'])
def test_frozen_stages_count_as_in_the_frameworks(framework):
    pytest.importorskip(framework)
    swin = dict(type=f'{framework}.SwinTransformer', frozen_stages=1)
    if framework == 'mmpretrain':
        swin.update(frozen_stages=0, arch='tiny')
    theirs = MODELS.build(swin)
    theirs.train()
    ours = MODELS.build(dict(type='ReSwin', arch='tiny', frozen_stages=1))
    frozen = [not any(p.requires_grad for p in stage.blocks.parameters()) for stage in theirs.stages]
    assert frozen == [True, False, False, False]
    assert frozen == [not any(p.requires_grad for module in ours.stage_modules(i) for p in module.parameters())
                      for i in range(4)]
