"""Numbers of attention heads, compared with the tables of the papers, and of parameters, compared with the authors'.

In some networks, such as ViTAEv2, the shapes of the weights don't depend on the number of heads, so published weights
would load with a wrong number and give wrong predictions. The goldens of large networks take minutes.
"""
import pytest
import torch
from mmengine.registry import MODELS

from mmvit_backbones.zoo.building import model_config
from mmvit_backbones.zoo.variants import VARIANTS

# Numbers of heads by stage. If a stage has two different numbers, the first belongs to the reduction cell. Stages with
# only linear attention are empty, because linear attention has a single head and no num_heads attribute.
HEADS = {
    'vitae_tiny': [[], [], [4]], 'vitae_6m': [[], [], [4]], 'vitae_13m': [[], [], [5]],
    'vitae_small': [[], [], [6]], 'vitae_base': [[12]], 'vitae_large': [[16]], 'vitae_huge': [[16]],
    'vitaev2_small': [[1], [1, 2], [2, 4], [4, 8]], 'vitaev2_48m': [[1], [1, 2], [2, 4], [4, 8]],
    'vitaev2_base': [[1], [1, 4], [4, 8], [8, 16]], 'vitaev2_small_window': [[1], [1, 2], [2, 4], [4, 8]],
    'vitaev2_vsa_small': [[2], [2, 4], [4, 8], [8, 16]], 'vitaev2_vsa_small_wide': [[2], [4], [8], [16]],
    'vitaev2_vsa_48m': [[3], [6], [12], [24]], 'vitaev2_vsa_base': [[4], [8], [16], [32]],
    'swin_vsa_tiny': [[3], [6], [12], [24]], 'swin_vsa_small': [[3], [6], [12], [24]],
    'rest_lite': [[1], [2], [4], [8]], 'rest_small': [[1], [2], [4], [8]],
    'rest_base': [[1], [2], [4], [8]], 'rest_large': [[1], [2], [4], [8]],
    'restv2_tiny': [[1], [2], [4], [8]], 'restv2_small': [[1], [2], [4], [8]],
    'restv2_base': [[1], [2], [4], [8]], 'restv2_large': [[2], [4], [8], [16]],
    'refiner_vit_small': [[12]] * 4, 'refiner_vit_medium': [[12]] * 4, 'refiner_vit_large': [[16]] * 4,
    'regionvit_tiny': [[2], [4], [8], [16]], 'regionvit_small': [[3], [6], [12], [24]],
    'regionvit_medium': [[3], [6], [12], [24]], 'regionvit_base': [[4], [8], [16], [32]],
    'revit_base': [[12]], 'remvitv2_tiny': [[1], [2], [4], [8]], 'reswin_tiny': [[3], [6], [12], [24]],
}


@pytest.mark.parametrize('name', HEADS)
def test_heads_and_parameters_match_the_paper(name):
    pytest.importorskip('mmpretrain.models')
    with torch.device('meta'):
        classifier = MODELS.build(model_config(VARIANTS[name], 'classification'))
    assert sum(p.numel() for p in classifier.parameters()) == VARIANTS[name].num_params
    model, heads = classifier.backbone, []
    for stage in range(model.num_stages):
        roots = (model.stem_modules() if stage == 0 else []) + model.stage_modules(stage)  # ViTAEv2's stem is a cell
        modules = [module for root in roots for module in root.modules()]
        heads.append(list(dict.fromkeys(module.num_heads for module in modules if hasattr(module, 'num_heads'))))
    assert heads == HEADS[name]
