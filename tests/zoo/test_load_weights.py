"""Weights of checkpoints are loaded into models."""
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import fresh_model, raises
from mmengine.runner import CheckpointLoader

from mmvit_backbones import convert_state_dict, get_model
from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.zoo.loading import check_overlap, load_weights, use_safe_loading


def test_checkpoint_of_another_network():
    model = fresh_model('ResTv2')
    weights = model.state_dict()
    load_weights(model, dict(state_dict=weights), 'own')
    check_overlap(model, weights, 'own')
    others = {f'other.{key}': value for key, value in weights.items()}
    with raises(CheckpointError, 'other.pth', 'missing'):
        load_weights(model, others, 'other.pth')
    with raises(CheckpointError, 'other.pth', 'ResTv2', next(iter(others))):
        check_overlap(model, others, 'other.pth')
    with raises(CheckpointError, 'seven.pth', 'shapes'):
        load_weights(model, {**weights, 'norm3.bias': torch.zeros(7)}, 'seven.pth')


def test_authors_classifier_is_loaded_as_it_is(tmp_path, own_loaders):
    """MMEngine can load the published file unchanged, to test the network or to start a training."""
    variant = 'rest_lite'
    golden = next(name for name, golden in NETWORKS.items() if golden['variant'] == variant)
    weights = fill_state_dict(NETWORKS[golden]['state_dict'], torch.float32)
    torch.save(weights, tmp_path / 'authors.pth')
    use_safe_loading()
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'authors.pth'))
    load_weights(get_model(variant), loaded, 'authors.pth')
    assert loaded['state_dict'].keys() == convert_state_dict(variant, weights).keys()
