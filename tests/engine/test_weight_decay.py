"""Weight decay where the backbones are put into published recipes."""
import re
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS


def decays(backbone: dict, paramwise_cfg: dict, **optimizer) -> tuple[dict[str, dict], set[str]]:
    """Returns the parameter groups by name, of the backbone in a model, and the names that shall not decay."""
    with torch.device('meta'):
        model = torch.nn.ModuleDict(dict(backbone=MODELS.build(dict(backbone, init_cfg=None))))
    wrapper = build_optim_wrapper(model, ConfigDict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=1., weight_decay=1.), paramwise_cfg=paramwise_cfg))
    names = {id(p): name.removeprefix('backbone.') for name, p in model.named_parameters()}
    groups = {names[id(p)]: group for group in wrapper.optimizer.param_groups for p in group['params']}
    return groups, model['backbone'].no_weight_decay()


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
    vectors = {name for name, p in model.named_parameters()  # also of shape (heads, 1, 1)
               if p.numel() == max(p.shape, default=1) and not name.endswith('bias')}
    assert vectors <= model.no_weight_decay()


# What decays against the networks' own statement, by network and base file: the authors' departures, or mmdet's.
DEPARTURES = {
    ('ResTv2', 'ade20k_160k_restv2_t'): r'patch_embeds\.0\.norm[12]',
    ('ResTv2', 'coco_restv2_3x'): r'norm\d\.',
    **{('RegionViT', schedule): r'.*rel_pos|.*(local_embed\.norm\d|projection\.norm)\.weight|norm\d\.weight'
       for schedule in ('coco_regionvit_1x', 'coco_regionvit_3x')},
    ('RegionViT', 'imagenet_regionvit'): r'.*rel_pos|.*(local_embed\.norm\d|projection\.norm)\.weight',
    ('ReMViTv2', 'imagenet_remvitv2'): r'.*rel_pos',
    ('ReSwin', 'imagenet_reswin'): r'.*relative_position_bias_table',
    ('ReViT', 'imagenet_revit'): r'.*pos_embed',
    ('ViTAE', 'imagenet_vitae'): r'.*(pos_embed|class_token)',
    ('ViTAEv2VSA', 'imagenet_vitaev2'): r'.*relative_position_bias_table',
    ('ViTAEv2VSA', 'imagenet22k_pretrain'): r'.*relative_position_bias_table',
    **{(network, schedule): r'.*conv_branch\.norms' for network in ('ViTAE', 'ViTAEv2', 'ViTAEv2VSA')
       for schedule in ('coco_vitae_1x', 'coco_vitae_3x', 'ade20k_160k_vitae', 'cityscapes_40k')},
    **{(network, 'dino_coco'): r'' for network in ('ReSwin', 'ResTv2', 'ViTAEv2', 'ViTAEv2VSA')},
}


@pytest.mark.slow
def test_configs_decay_what_the_networks_state_except_for_the_authors_departures():
    """Learning rates by layer are left out: test_layer_decay.py tests their constructor."""
    own = {}  # one config of each network and schedule
    for path in sorted(ROOT.glob('configs/*.py')):
        bases = re.findall(r"'\./(_base_/.+?)'", path.read_text())
        models = ''.join((ROOT / 'configs' / base).read_text() for base in bases if '/models/' in base)
        network = re.search(rf"type='({'|'.join(TINY_CONFIGS)})'", path.read_text() + models)
        if bases and network:
            schedules = [Path(base).stem for base in bases if not re.search('models|datasets|runtime', base)]
            own.setdefault((network[1], *schedules), path)
    found = {}
    for (network, *bases), path in own.items():
        wrapper = Config.fromfile(path).get('optim_wrapper', {})
        if 'constructor' in wrapper:
            continue
        groups, exempt = decays(dict(type=network) | TINY_CONFIGS[network], wrapper.get('paramwise_cfg') or {})
        departure = next((DEPARTURES[network, base] for base in bases if (network, base) in DEPARTURES), '$')
        wrong = {name for name in exempt if (groups[name]['weight_decay'] > 0) != bool(re.match(departure, name))}
        if wrong:
            found[path.stem] = sorted(wrong)
    assert not found
