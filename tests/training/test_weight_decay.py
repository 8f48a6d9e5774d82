"""Weight decay where the backbones are put into published recipes."""
import os.path as osp
import re
from pathlib import Path

import mmdet
import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.training import weight_decay_cfg

RECIPES = osp.dirname(mmdet.__file__) + '/.mim/configs/'


def decays(backbone: dict, paramwise_cfg: dict, **optimizer) -> tuple[dict[str, dict], set[str]]:
    """Returns the parameter groups by name, of the backbone in a model, and the names that shall not decay."""
    with torch.device('meta'):
        model = torch.nn.ModuleDict(dict(backbone=MODELS.build(dict(backbone, init_cfg=None))))
    wrapper = build_optim_wrapper(model, ConfigDict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=1., weight_decay=1.), paramwise_cfg=paramwise_cfg))
    names = {id(p): name.removeprefix('backbone.') for name, p in model.named_parameters()}
    groups = {names[id(p)]: group for group in wrapper.optimizer.param_groups for p in group['params']}
    return groups, model['backbone'].no_weight_decay()


@pytest.mark.parametrize('network', sorted(TINY_CONFIGS))
def test_copied_options_exempt_norms_tables_tokens_and_gates(network):
    backbone = dict(type=network) | TINY_CONFIGS[network]
    for recipe, lr_mult in (('swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', None),
                            ('mask2former/mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco.py', 0.1)):
        recipe = Config.fromfile(RECIPES + recipe)
        recipe.merge_from_dict(dict(optim_wrapper=dict(paramwise_cfg=weight_decay_cfg(backbone, lr_mult))))
        groups, exempt = decays(backbone, recipe.optim_wrapper.paramwise_cfg)
        assert exempt and {name for name, group in groups.items() if not group['weight_decay']} == exempt
        assert {group['lr'] for group in groups.values()} == {lr_mult or 1.}


def test_norms_tables_tokens_and_gates_are_found():
    for network, parts in dict(
            ReMViTv2=('gate.weight', 'rel_pos_h', 'rel_pos_w', 'norm1.bias'), RefinerViT=('class_token', '.scale'),
            RegionViT=('rel_pos', 'norm0.weight'), ViTAEv2=('conv_branch.norms.0.weight', ),
            SwinVSA=('relative_position_bias_table', )).items():
        with torch.device('meta'):
            names = MODELS.build(dict(type=network) | TINY_CONFIGS[network]).no_weight_decay()
        for part in parts:
            assert any(part in name for name in names), (network, part)
        assert not any('qkv' in name or 'fc1' in name for name in names)


@pytest.mark.parametrize('network', sorted(TINY_CONFIGS))
def test_all_vectors_but_biases_are_found(network):
    with torch.device('meta'):
        model = MODELS.build(dict(type=network) | TINY_CONFIGS[network])
    vectors = {name for name, p in model.named_parameters() if p.ndim <= 1 and not name.endswith('bias')}
    assert vectors <= model.no_weight_decay()


def test_other_backbones_are_refused():
    with raises(TypeError, 'ResNet'):
        weight_decay_cfg(dict(type='mmdet.ResNet', depth=50))


def says_why(path: Path) -> bool:
    """Returns whether a comment of a config or of its bases speaks of weight decay."""
    text = path.read_text()
    comments = ' '.join(re.findall(r'(?:^|  )# (.*)', text, re.M))
    return 'decay' in comments or any(says_why(path.parent / base) for base in bases_of(text))


def bases_of(text: str) -> list[str]:
    return re.findall(r"'(\.{1,2}/[\w/.]+\.py)'", text)


@pytest.mark.slow
def test_configs_say_what_decays_against_the_table():
    """Authors decay some norms and tables; each such config or one of its bases has a comment on it."""
    representatives = {}  # one config of each network and schedule
    for path in sorted(ROOT.glob('configs/*.py')):
        text = path.read_text()
        if not all(base.startswith('./_base_/') for base in bases_of(text)):
            continue  # another size or resolution of a config
        schedules = [base for base in bases_of(text) if 'datasets' not in base and 'runtime' not in base]
        representatives.setdefault((*schedules, *re.findall(r"type='(\w+)', arch", text)), path)
    for path in representatives.values():
        config = Config.fromfile(path)
        wrapper = config.get('optim_wrapper', {})
        if wrapper.get('constructor') or 'backbone' not in config.get('model', {}):
            continue
        groups, exempt = decays(config.model.backbone, wrapper.get('paramwise_cfg') or {})
        decayed = [name for name in sorted(exempt) if groups[name]['weight_decay']]
        assert not decayed or says_why(path), (path, decayed[:5])


@pytest.mark.parametrize('name', ['mask2former_vitaev2_s', 'mask2former_vitaev2_vsa_s_ade20k', 'mask2former_restv2_t',
                                  'mask_rcnn_remvitv2_t', 'mask_rcnn_refiner_vit_s', 'upernet_regionvit_t'])
def test_our_recipes_exempt_the_same(name):
    config = Config.fromfile(ROOT / f'configs/{name}.py')
    groups, exempt = decays(config.model.backbone, config.optim_wrapper.paramwise_cfg)
    assert not [name for name in exempt if groups[name]['weight_decay']]


def test_the_page_has_the_options_of_every_backbone():
    page = (ROOT / 'docs/own_project.md').read_text()
    rows = re.findall(r'^\| ([\w,. -]+) \| `(dict\(norm_decay_mult.*)` \|$', page, re.M)
    options = {name.strip(): eval(text) for names, text in rows for name in re.sub(r' to -\w', '', names).split(',')}
    for network, config in TINY_CONFIGS.items():
        name = {'ViTAE': 'ViTAE-T', 'ViTAE, plain': 'ViTAE-B'}.get(network, network)
        assert options[name] == weight_decay_cfg(dict(type=network) | config), name
