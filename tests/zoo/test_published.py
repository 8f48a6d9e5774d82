"""Variants load the authors' checkpoints and ours, and refuse checkpoints of other networks."""
import argparse
from functools import lru_cache

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS, SMALL
from mmengine.registry import MODELS
from safetensors.torch import save_file

from mmvit_backbones import convert_state_dict, get_model
from mmvit_backbones.zoo.building import import_mmpretrain, model_config
from mmvit_backbones.zoo.variants import VARIANTS


@lru_cache(maxsize=1)
def filled(golden: str) -> dict:
    """Returns a checkpoint in the authors' layout with generated weights."""
    return fill_state_dict(NETWORKS[golden]['state_dict'], torch.float32)


AUTHORS = sorted({golden['variant']: name for name, golden in reversed(NETWORKS.items())
                  if not golden.get('overrides')}.items())


# The smallest network of each family that has a golden for a whole network.
FAMILIES = {VARIANTS[name].family.name: (name, golden)
            for name, golden in sorted(AUTHORS, key=lambda pair: -VARIANTS[pair[0]].num_params)}


def same_weights(model, state_dict) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[key], value) for key, value in state_dict.items())


@pytest.mark.parametrize('task', ['backbone', 'classification'])
@pytest.mark.parametrize('name, golden', FAMILIES.values(), ids=FAMILIES)
def test_authors_weights_fit(name, golden, task):
    """Compares names and shapes; test_goldens.py compares outputs."""
    if task == 'classification':
        import_mmpretrain()
    with torch.device('meta'):
        weights = {key: torch.empty(shape) for key, shape in NETWORKS[golden]['state_dict'].items()}
        model = MODELS.build(model_config(VARIANTS[name], task))
    model.load_state_dict(convert_state_dict(name, weights, task), assign=True)


@pytest.mark.parametrize('name, golden', [pair for pair in FAMILIES.values() if pair[0] in SMALL])
def test_authors_file_and_ours_are_taken(name, golden, tmp_path):
    """The path of a file can be an argument of get_model or part of a config."""
    pytest.importorskip('mmpretrain')
    weights, path = filled(golden), str(tmp_path / 'authors.pth')
    options = argparse.Namespace(lr=1e-3)  # of timm's training script, which some published files contain
    torch.save(dict(model=weights, args=options), path)
    from_authors = get_model(name, checkpoint=path)
    save_file(from_authors.state_dict(), tmp_path / 'ours.safetensors')
    from_ours = get_model(name, 'backbone', checkpoint=str(tmp_path / 'ours.safetensors'))
    assert same_weights(from_authors, convert_state_dict(name, weights))
    backbone_weights = convert_state_dict(name, weights, 'backbone')
    assert same_weights(from_ours, backbone_weights) and not any(key.startswith('head') for key in backbone_weights)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    backbone = MODELS.build(model_config(VARIANTS[name], 'backbone', init_cfg=init_cfg))
    backbone.init_weights()
    assert same_weights(backbone, backbone_weights)
