"""Models are built by name."""
import sys

import pytest
import torch
from helpers import raises

from mmvit_backbones import get_model, list_models
from mmvit_backbones.zoo.variants import find_names


def test_unknown_names_are_errors():
    for name, near in (('reswin_tiniest', 'reswin_tiny'), ('vitae_tny', 'vitae_tiny')):
        with raises(ValueError, name, 'regionvit_small_plus') as caught:
            get_model(name)
        assert near in str(caught.value).split(name)[1]  # after the list of all names
    with raises(ValueError) as caught:
        get_model('?')
    assert str(caught.value).endswith("got '?'")
    with raises(ValueError, 'name must be one of', 'got None'):
        get_model(None)
    with raises(ValueError, 'task', 'segmentation', 'backbone'):
        get_model('reswin_tiny', task='segmentation')


def test_names_are_found_by_patterns():
    assert list_models() == sorted(list_models()) and 'reswin_tiny' in list_models()
    assert list_models('resw*') == ['reswin_tiny'] and list_models('nothing*') == []
    assert find_names(['resw*', 'nothing*', 'rest_lite']) == ['reswin_tiny', 'rest_lite']
    names = find_names(['rest_lite', 'rest*', 'rest_lite'])
    assert names[0] == 'rest_lite' and sorted(names) == list_models('rest*')
    with raises(ValueError, 'nothing*', 'none*', 'reswin_tiny'):
        find_names(['nothing*', 'none*'])


def test_img_size_is_ignored_without_a_position_embedding():
    for name, has_positions in (('reswin_tiny', False), ('revit_base', True)):
        with torch.device('meta'):
            shapes = [{key: x.shape for key, x in get_model(name, 'backbone', img_size=size).state_dict().items()}
                      for size in (64, None)]
        assert (shapes[0] != shapes[1]) == has_positions


def test_classifiers_need_mmpretrain(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmpretrain.models', None)
    with raises(ImportError, 'mmpretrain', 'pip install', "task='backbone'"):
        get_model('reswin_tiny')
    get_model('reswin_tiny', 'backbone')


@pytest.mark.parametrize('name', ['reswin_tiny', 'vitaev2_vsa_small'])
def test_no_path_is_dropped_unless_asked_for(name):
    from mmvit_backbones.layers.drop_path import DropPath
    rates = [[module.drop_prob for module in get_model(name, 'backbone', **arguments).modules()
              if isinstance(module, DropPath)] for arguments in ({}, dict(drop_path_rate=0.3))]
    assert not any(rates[0]) and max(rates[1]) > 0.2


def test_weights_of_a_detector_bring_its_arguments(monkeypatch):
    """Unless they are given."""
    monkeypatch.setattr('mmvit_backbones.zoo.building.load_variant', lambda *args, **options: None)  # no download
    with torch.device('meta'):
        of_detector, without_norms, of_classifier = (
            get_model('regionvit_small_plus', 'backbone', pretrained=tag, **options)
            for tag, options in (('mask_rcnn_peg', {}), ('retinanet_3x', dict(stage_norm=False)), (False, {})))
        by_name = get_model('regionvit_small_plus', 'backbone', 'official://regionvit_small_plus/mask_rcnn_peg')
    assert of_detector.window_sizes == without_norms.window_sizes == (14, ) * 4 != of_classifier.window_sizes
    modules = [{key.split('.')[-2] for key in model.state_dict()}
               for model in (of_detector, without_norms, of_classifier)]
    assert [{'norm3', 'peg'} & names for names in modules] == [{'norm3', 'peg'}, set(), set()]
    assert by_name.state_dict().keys() == of_detector.state_dict().keys()
