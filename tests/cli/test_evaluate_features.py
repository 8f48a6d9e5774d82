"""Tests `mmvit features` with a tiny network on images of flowers."""
import re
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmvit_backbones import get_model
from mmvit_backbones.cli import features
from mmvit_backbones.cli.probes import linear_probe
from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.skipif(not find_spec('sklearn'), reason='mmvit features needs scikit-learn')

CONFIG = str(ROOT / 'tests/training/tiny_classifier.py')


@pytest.fixture
def checkpoint(tmp_path):
    """Returns a checkpoint with random weights, whose head has 1000 classes."""
    config = Config.fromfile(CONFIG)
    config.model.head.num_classes = 1000
    init_default_scope('mmpretrain')
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict()), tmp_path / 'tiny.pth')
    return str(tmp_path / 'tiny.pth')


@pytest.mark.slow
def test_features_of_flowers(checkpoint, tmp_path, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    saved = tmp_path / 'features.npz'
    printed = run('features', CONFIG, checkpoint, '--class-folder', 'data/flowers_mini',
                  '--neighbors', '1', '5', '--regularization', '0.1', '--save', str(saved), '--cfg-options',
                  'train_dataloader.dataset.indices=60', 'test_dataloader.dataset.indices=None')
    assert '60 training images, 60 test images, 96 features' in printed
    found = dict(re.findall(r'^(.*): top-1 ([\d.]+) %$', printed, flags=re.MULTILINE))
    assert found.keys() == {'k-NN, k=1', 'k-NN, k=5', 'linear probe, C=0.1'}
    data = np.load(saved)
    unit = {key: data[key] / np.linalg.norm(data[key], axis=1, keepdims=True) for key in ('train', 'test')}
    nearest = data['train_labels'][(unit['test'] @ unit['train'].T).argmax(1)]
    assert float(found['k-NN, k=1']) == pytest.approx(100 * (nearest == data['test_labels']).mean(), abs=0.01)


def test_too_many_neighbors_are_an_error_before_the_features_are_computed(checkpoint, run, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(features, 'features_of', lambda model, loader: pytest.fail('the features were computed'))
    with pytest.raises(SystemExit):
        run('features', CONFIG, checkpoint, '--class-folder', 'data/flowers_mini', '--neighbors', '1', '61',
            '--cfg-options', 'train_dataloader.dataset.indices=60')
    error = capsys.readouterr().err
    assert '--neighbors must be at most 60' in error and 'got 61' in error


@pytest.mark.parametrize('labels, strengths, words', [
    ([0, 0, 1, 1], [0.1, 1.], ['--regularization', '3 training images', '--regularization 0.1']),
    ([1, 1, 1, 1], [0.1], ['two classes'])])
def test_too_few_training_images_for_the_linear_probe(labels, strengths, words):
    vectors, labels = np.random.default_rng(0).normal(size=(4, 3)), np.array(labels)
    with raises(UsageError, *words):
        linear_probe(vectors, labels, vectors, labels, strengths)


def test_the_accuracy_is_that_of_the_test_images():
    labels = np.arange(30) % 2
    vectors = np.stack([10. * labels, np.random.default_rng(0).normal(size=30)], axis=1)
    for strengths in [1.], [0.1, 1.]:
        assert [linear_probe(vectors, labels, vectors, truth, strengths)[0] for truth in (labels, 1 - labels)] == [1, 0]


@pytest.mark.parametrize('arguments, message', [
    (['configs/mask_rcnn_reswin_t.py', 'x.pth'], "default_scope='mmdet'"),
    ([CONFIG, 'x.pth', '--neighbors', '0'], '--neighbors'),
    ([CONFIG, 'x.pth', '--regularization', '0'], '--regularization'),
    ([CONFIG], 'either checkpoint or pretrained'),
])
def test_mistakes_are_reported(arguments, message, run, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        run('features', *arguments)
    assert message in capsys.readouterr().err


@pytest.fixture
def weights(tmp_path):
    """Returns a checkpoint of ResT-Lite with random weights."""
    torch.save(dict(state_dict=get_model('rest_lite', task='backbone').state_dict()), tmp_path / 'rest_lite.pth')
    return str(tmp_path / 'rest_lite.pth')


@pytest.mark.slow
def test_pixels_are_classified_from_maps(weights, tmp_path, run, monkeypatch):
    """Even random features separate sky from road; saved maps have the channels of both stages."""
    monkeypatch.chdir(ROOT)
    saved = tmp_path / 'maps.npz'
    printed = run('features', 'rest_lite', weights, '--seg-folder', 'data/camvid_mini', '--size', '64', '--stages', '1',
                  '2', '--regularization', '0.1', '--save', str(saved))
    iou, pixels = map(float, re.search(r'mIoU ([\d.]+) %, ([\d.]+) % of the pixels', printed).groups())
    assert 5 < iou < pixels and pixels > 40  # the most frequent class covers 30 %
    maps = np.load(saved)
    assert len(maps.files) == 70 and {maps[name].shape for name in maps.files} == {(384, 8, 11)}


@pytest.mark.slow
def test_boxes_are_classified_from_pooled_maps(weights, tmp_path, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    saved = tmp_path / 'boxes.npz'
    printed = run('features', 'rest_lite', weights, '--coco-folder', 'data/coco_mini', '--size', '64', '--stages', '2',
                  '--neighbors', '1', '--regularization', '0.1', '--save', str(saved))
    assert '243 training boxes, 131 test boxes, 256 features' in printed
    data = np.load(saved)
    unit = {key: data[f'{key}_embeddings'] / np.linalg.norm(data[f'{key}_embeddings'], axis=1, keepdims=True)
            for key in ('train', 'test')}
    nearest = data['train_labels'][(unit['test'] @ unit['train'].T).argmax(1)]
    accuracy = float(re.search(r'k-NN, k=1: top-1 ([\d.]+) %', printed)[1])
    assert accuracy == pytest.approx(100 * (nearest == data['test_labels']).mean(), abs=1)
    assert len(data['test_boxes']) == len(data['test_images']) == 131


def test_stages_must_exist(weights, run, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        run('features', 'rest_lite', weights, '--coco-folder', 'data/coco_mini', '--stages', '4')
    assert '--stages must be from 0 to 3' in capsys.readouterr().err
