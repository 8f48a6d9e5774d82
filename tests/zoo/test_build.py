"""Models are built by name."""
import pytest
from helpers import raises
from mmengine.registry import MODELS

import mmvit_backbones
from mmvit_backbones import get_model, list_models


def test_list_models():
    assert list_models() == sorted(list_models()) and 'reswin_tiny' in list_models()
    assert list_models('resw*') == ['reswin_tiny'] and list_models('nothing*') == []


def test_unknown_names_are_errors():
    with pytest.raises(ValueError, match='reswin_tiny'):
        get_model('reswin_tiniest')
    with raises(ValueError, 'task', 'segmentation', 'backbone'):
        get_model('reswin_tiny', task='segmentation')


def test_building_is_silent(capfd):
    get_model('reswin_tiny', 'backbone')
    assert capfd.readouterr() == ('', '')


def test_registered_in_the_root_registry():
    assert mmvit_backbones.__version__
    assert {'ReSwin'} <= MODELS.module_dict.keys()


@pytest.mark.parametrize('name', ['reswin_tiny', 'vitaev2_vsa_small'])
def test_no_path_is_dropped_unless_asked_for(name):
    from mmvit_backbones.layers.drop_path import DropPath
    rates = [[module.drop_prob for module in get_model(name, 'backbone', **arguments).modules()
              if isinstance(module, DropPath)] for arguments in ({}, dict(drop_path_rate=0.3))]
    assert not any(rates[0]) and max(rates[1]) > 0.2
