"""Errors about weights with the names of other libraries say whose they are."""
import pytest
import torch
import torchvision
from helpers import fresh_model, raises

from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.integrations.timm_backbone import TimmBackbone
from mmvit_backbones.zoo.foreign_names import describe_names
from mmvit_backbones.zoo.loading import load_checkpoint


def torchvisions(name: str) -> dict:
    with torch.device('meta'):
        if name == 'fasterrcnn':
            detector = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn
            return detector(weights=None, weights_backbone=None).state_dict()
        return torchvision.models.get_model(name).state_dict()


@pytest.mark.parametrize('name, words', [
    ('efficientnet_b0', ["torchvision's classifiers", 'timm']),
    ('fasterrcnn', ["torchvision's detectors", 'backbone'])])
def test_files_of_torchvision_are_named(name, words, tmp_path):
    """By our networks and by those of timm, whose own error lists hundreds of names."""
    weights = {key: torch.zeros(x.shape, dtype=x.dtype) for key, x in torchvisions(name).items()}
    with raises(CheckpointError, 'a.pth', *words):
        load_checkpoint(fresh_model('ReSwin'), weights, 'a.pth')
    file = tmp_path / 'a.pth'
    torch.save(weights, file)
    with raises(CheckpointError, 'a.pth', 'efficientnet_lite0', *words):
        TimmBackbone('tf_efficientnet_lite0', pretrained=True, pretrained_cfg_overlay=dict(file=str(file)))


@pytest.mark.parametrize('name, whose', [
    ('backbone.bottom_up.res2.0.conv1.weight', 'Detectron2'), ('model.22.cv2.0.conv.weight', 'Ultralytics'),
    ('neck.lateral_convs.0.conv.weight', 'OpenMMLab'), ('vit.encoder.layer.0.output.dense.weight', 'Hugging Face')])
def test_names_tell_a_library(name, whose):
    assert whose in describe_names(['other', name])


def test_unknown_names_tell_nothing():
    assert describe_names(['weight', 'a.b.c']) == ''
