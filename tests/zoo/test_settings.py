"""Arguments of backbones and the normalization of images are those of the weights, however these are named."""
from dataclasses import replace

import pytest
import torch
from helpers import raises
from mmengine.registry import MODELS

from mmvit.recipes.networks import find_network
from mmvit_backbones import get_model
from mmvit_backbones.backbones import ReSwin
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.source import open_weights
from mmvit_backbones.zoo.variants import VARIANTS


@pytest.mark.parametrize('name, keys, tag', [
    ('regionvit_small', ['backbone.a', 'roi_head.bbox_head.fc_cls.weight'], 'mask_rcnn'),
    ('regionvit_small_plus', ['backbone.stages.0.peg.proj.weight', 'bbox_head.retina_cls.weight'], 'retinanet_peg'),
    ('rest_small', ['module.roi_head.mask_head.a'], 'mask_rcnn'), ('rest_small', ['head.weight'], '224'),
    ('rest_small', ['backbone.a'], '224')])
def test_other_files_are_told_by_their_keys(name, keys, tag, tmp_path):
    torch.save(dict(state_dict=dict.fromkeys(keys, torch.zeros(1))), tmp_path / 'file.pth')
    variant = VARIANTS[name]
    given, named = (open_weights(source, variant) for source in (str(tmp_path / 'file.pth'), tag))
    assert setting(variant, weights=given) == setting(variant, weights=named)


def test_detectors_of_ones_own_have_the_arguments_of_detectors_alone(tmp_path):
    """The authors' normalization is theirs."""
    variant, own = VARIANTS['regionvit_small'], dict(meta=dict(mmengine_version='0.10'))
    torch.save(dict(own, state_dict={'roi_head.a': torch.zeros(1)}), tmp_path / 'own.pth')
    found = setting(variant, weights=open_weights(str(tmp_path / 'own.pth'), variant))
    authors = open_weights('mask_rcnn', variant)
    assert found == setting(variant, 'dense') and found.images != setting(variant, weights=authors).images


def test_windows_are_those_of_the_detector(tmp_path):
    torch.save({'roi_head.a': torch.zeros(1)}, tmp_path / 'file.pth')
    variant = VARIANTS['vitaev2_vsa_small']
    found = setting(variant, weights=open_weights(str(tmp_path / 'file.pth'), variant))
    assert found.backbone['window_padding'] == 'center'


def test_weights_of_another_size_build_the_network_for_it():
    variant = VARIANTS['refiner_vit_large']
    assert [setting(variant, weights=open_weights(source, variant)).backbone.get('img_size')
            for source in (True, '448', None)] == [
        448, 448, None]


def test_unknown_tasks_are_refused():
    with raises(UsageError, 'task', 'detection', 'dense'):
        setting(VARIANTS['reswin_tiny'], 'detection')


def test_a_network_may_have_the_name_of_one_of_mmpretrain(monkeypatch):
    pytest.importorskip('mmpretrain')

    class DaViT(ReSwin):
        pass

    variant = VARIANTS['reswin_tiny']
    monkeypatch.setitem(MODELS.module_dict, 'DaViT', DaViT)
    monkeypatch.setitem(VARIANTS, 'own', replace(variant, name='own', family=replace(variant.family, backbone='DaViT')))
    with torch.device('meta'):
        assert type(get_model('own').backbone) is DaViT
        network = dict(find_network('own', False, 'classification').backbone, _scope_='mmpretrain')
        assert type(MODELS.build(network)) is DaViT
