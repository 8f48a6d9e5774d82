"""Weights of checkpoints are loaded into models."""
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import fresh_model, raises, trained_model
from mmengine.model import BaseTTAModel
from mmengine.runner import CheckpointLoader
from torch import nn

from mmvit_backbones import convert_state_dict, get_model
from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.fitting import fit
from mmvit_backbones.zoo.loading import load_weights, safe_loading


class Averages(BaseTTAModel):
    def merge_preds(self, data_samples_list: list) -> list:
        return data_samples_list[0]


def average_views(model: nn.Module) -> Averages:
    model.test_step = None  # MMEngine requires this method
    return Averages(model)


def test_checkpoint_of_another_network():
    model = fresh_model('ResTv2')
    weights = model.state_dict()
    load_weights(model, weights, 'own')
    assert not fit(model, weights, 'all', 'own').new
    others = {f'theirs.{key}': value for key, value in weights.items()}
    first, theirs = next(iter(weights)), next(iter(others))
    for part in 'all', 'the backbone':
        with raises(CheckpointError, 'other.pth', 'ResTv2', f"expected {first!r}, got {theirs!r} (prefix 'theirs.'?)"):
            fit(model, others, part, 'other.pth')
    shapes = {'norm3.bias': torch.zeros(7), 'norm3.weight': torch.zeros(7)}
    with raises(CheckpointError, 'seven.pth', '2 of', 'norm3.weight is [7] in place of [') as caught:
        load_weights(model, weights | shapes, 'seven.pth')
    assert '\n' not in str(caught.value) and 'norm3.bias' not in str(caught.value)  # one example
    with raises(CheckpointError, 'text.pth', 'norm3.bias must be a tensor', 'a str') as caught:
        load_weights(model, weights | {'norm3.bias': 'text'}, 'text.pth')
    assert '\n' not in str(caught.value)


def test_weights_that_are_not_finite_are_refused():
    model = fresh_model('ViTAE')
    model.register_buffer('mask', torch.tensor([0., -torch.inf]))
    weights = model.state_dict()
    name = list(weights)[3]
    load_weights(model, {**weights, 'unused': torch.tensor(torch.nan)}, 'own.pth')
    for value in torch.nan, torch.inf:
        spoiled = weights[name].clone()
        spoiled.flatten()[-1] = value
        with raises(CheckpointError, 'own.pth', name, 'NaN' if value != value else 'inf'):
            load_weights(model, {**weights, name: spoiled}, 'own.pth')


class Counting(nn.Linear):
    """Has state other than weights, which PyTorch saves with them."""

    number = 3

    def get_extra_state(self) -> dict:
        return dict(number=self.number)

    def set_extra_state(self, state: dict) -> None:
        self.number = state['number']


def test_extra_state_of_a_module_is_loaded():
    model, other = Counting(2, 3), Counting(2, 3)
    model.number = 7
    load_weights(other, model.state_dict(), 'own.pth')
    assert other.number == 7


@pytest.mark.parametrize('wrap', [nn.DataParallel, lambda model: nn.DataParallel(average_views(model))])
def test_wrapped_models_are_loaded(wrap):
    model = trained_model('ResTv2')
    other = fresh_model('ResTv2')
    assert not fit(wrap(other), model.state_dict(), 'all', 'own').new
    load_weights(wrap(other), model.state_dict(), 'own')
    assert all(torch.equal(x, other.state_dict()[key]) for key, x in model.state_dict().items())


# ---- schemes of checkpoints


@pytest.mark.parametrize('name', ['other://a.pth', 'ftp://a.org/a.pth'])
def test_other_schemes_are_refused(name, own_loaders):
    for loading in nullcontext(), safe_loading():
        with loading, raises(CheckpointError, name, 'http'):
            read_checkpoint(name)


def test_loaders_of_the_user_are_called(own_loaders):
    CheckpointLoader.register_scheme('mystore://', lambda filename, map_location: {filename: map_location})
    with safe_loading():
        assert read_checkpoint('mystore://a.pth', 'meta') == {'mystore://a.pth': 'meta'}


def test_mmengine_has_its_own_loaders_after_a_run(tmp_path):
    """A notebook goes on with its own checkpoints, which may hold any objects."""
    torch.save(dict(note=Path('a')), tmp_path / 'own.pth')
    for _ in range(2):
        with safe_loading():
            with safe_loading():
                pass
            with pytest.raises(CheckpointError):
                CheckpointLoader.load_checkpoint(str(tmp_path / 'own.pth'))
        assert CheckpointLoader.load_checkpoint(str(tmp_path / 'own.pth')) == dict(note=Path('a'))


def test_a_config_in_a_checkpoint_is_not_handed_to_mmengine(tmp_path):
    """MMEngine would run it when a training resumes."""
    state = dict(state_dict={'a.b': torch.ones(1)}, meta=dict(config='raise', epoch=1))
    torch.save(state, tmp_path / 'a.pth')
    with safe_loading():
        assert CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))['meta'] == dict(epoch=1)


def test_authors_classifier_is_loaded_as_it_is(tmp_path, own_loaders):
    """MMEngine can load the published file unchanged, to test the network or to start a training."""
    variant = 'rest_lite'
    golden = next(name for name, golden in NETWORKS.items() if golden['variant'] == variant)
    weights = fill_state_dict(NETWORKS[golden]['state_dict'], torch.float32)
    torch.save(weights, tmp_path / 'authors.pth')
    with safe_loading():
        loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'authors.pth'))
    load_weights(get_model(variant), loaded['state_dict'], 'authors.pth')
    assert loaded['state_dict'].keys() == convert_state_dict(variant, weights).keys()
