"""Arguments of backbones and the normalization of images are those of the weights, however these are named."""
from dataclasses import replace

import pytest
import torch
from mmengine.registry import MODELS

from mmvit.recipes.networks import find_network
from mmvit_backbones import get_model
from mmvit_backbones.backbones import ReSwin
from mmvit_backbones.zoo.convert import convert_weights
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.source import open_weights
from mmvit_backbones.zoo.variants import IMAGENET_MEAN, IMAGENET_STD, VARIANTS, Normalization

REST, REGIONVIT = 'backbone.bottom_up.stem.', 'backbone.bottom_up.model.'  # how the authors' detectors begin
THEIRS = {
    'rest_small': [f'{REST}pos.pa_conv.weight', f'{REST}conv1.weight', 'roi_heads.box_predictor.cls_score.weight'],
    'regionvit_small_plus': [f'{REGIONVIT}cls_token.proj.weight', f'{REGIONVIT}layers.0.block.1.attn.qkv.weight',
                             f'{REGIONVIT}layers.0.peg.weight', 'head.cls_subnet.0.weight']}


@pytest.mark.parametrize('name, keys, tag', [
    ('regionvit_small_plus', THEIRS['regionvit_small_plus'], 'retinanet_peg'),
    ('rest_small', [f'module.{name}' for name in THEIRS['rest_small']], 'mask_rcnn'),
    ('rest_small', ['head.weight'], '224'), ('rest_small', ['backbone.a'], '224')])
def test_other_files_are_told_by_their_keys(name, keys, tag, tmp_path):
    torch.save(dict(state_dict=dict.fromkeys(keys, torch.zeros(1))), tmp_path / 'file.pth')
    variant = VARIANTS[name]
    given, named = (open_weights(source, variant) for source in (str(tmp_path / 'file.pth'), tag))
    assert setting(variant, weights=given) == setting(variant, weights=named)


def test_detectors_of_ones_own_have_the_arguments_of_detectors_alone(tmp_path, logged):
    """The authors' normalization is theirs; that of a file that does not tell is guessed, and said."""
    variant = VARIANTS['regionvit_small']
    torch.save(dict(state_dict={'roi_head.a': torch.zeros(1)}), tmp_path / 'own.pth')
    found = setting(variant, weights=open_weights(str(tmp_path / 'own.pth'), variant))
    authors = open_weights('mask_rcnn', variant)
    assert found == setting(variant, 'dense') and found.images != setting(variant, weights=authors).images
    assert 'own.pth' in logged.text


@pytest.mark.parametrize('name', THEIRS)
@pytest.mark.parametrize('images', [Normalization(IMAGENET_MEAN, IMAGENET_STD), Normalization([1.], [2.], False), None],
                         ids=['own', 'with other images', 'of the authors'])
def test_converted_files_tell_how_images_were_normalized(name, images, tmp_path, logged):
    """A detector's that are handed on, also their backbone alone, and converted twice."""
    variant = VARIANTS[name]
    if images:
        cfg = f'model = dict(data_preprocessor=dict(mean={images.mean}, std={images.std}, bgr_to_rgb={images.to_rgb}))'
        state, meta = ['backbone.norm0.weight', 'roi_head.bbox_head.fc_cls.weight'], dict(meta=dict(cfg=cfg))
    else:
        state, meta, images = THEIRS[name], {}, Normalization(**variant.family.detector_images)
    file = str(tmp_path / 'file.pth')
    torch.save(dict(meta, model=dict.fromkeys(state, torch.zeros(1))), file)
    for task in 'classification', 'backbone':
        for out in f'{task}.pth', f'{task}.safetensors':
            convert_weights(file, tmp_path / out, task=task)
            found = open_weights(str(tmp_path / out), variant)
            assert setting(variant, weights=found).images == images and 'cfg' not in found.meta
        file = str(tmp_path / 'classification.safetensors')
    assert not logged.text


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
