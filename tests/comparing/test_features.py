"""Frozen features of a small network on images of flowers, street scenes and objects."""
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, raises

from mmvit.comparing import evaluate_features
from mmvit.comparing.probes import check_neighbors, linear_probe
from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError

pytestmark = [pytest.mark.skipif(not find_spec('sklearn'), reason='features are evaluated with scikit-learn'),
              pytest.mark.usefixtures('frameworks')]

FLOWERS, STREETS, OBJECTS = (str(ROOT / 'data' / name) for name in ('flowers_mini', 'camvid_mini', 'coco_mini'))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Returns a checkpoint of the classifier ResT-Lite with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'rest_lite.pth'
    torch.save(dict(state_dict=get_model('rest_lite').state_dict()), path)
    return str(path)


def top1_of_nearest(train, labels, test, truth) -> float:
    train, test = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, test))
    return 100 * (labels[(test @ train.T).argmax(1)] == truth).mean()


@pytest.mark.slow
def test_features_of_images(weights, tmp_path):
    report = evaluate_features('rest_lite', class_folder=FLOWERS, pretrained=weights, size=64, neighbors=(1, 5),
                               regularization=[0.1], save=tmp_path / 'features.npz')
    assert '240 training images, 60 test images, 512 features' in report.about and weights in report.about
    data = np.load(tmp_path / 'features.npz')
    nearest = top1_of_nearest(*(data[name] for name in ('train', 'train_labels', 'test', 'test_labels')))
    assert report.nearest_neighbors.keys() == {1, 5}
    assert report.nearest_neighbors[1] == pytest.approx(nearest, abs=0.01) and 0 <= report.linear_probe <= 100
    assert [line.split(':')[0] for line in str(report).splitlines()[1:]] == [
        'k-NN, k=1', 'k-NN, k=5', 'linear probe, C=0.1']


@pytest.mark.slow
def test_a_norm_after_the_backbone_is_loaded(tmp_path):
    """The features are what the published head would get, with the checkpoint's last norm."""
    model = get_model('regionvit_tiny')
    torch.nn.init.zeros_(model.neck.norm.weight)
    torch.nn.init.constant_(model.neck.norm.bias, 3.)
    torch.save(model.state_dict(), tmp_path / 'a.pth')
    report = evaluate_features('regionvit_tiny', class_folder=f'{FLOWERS}/val', val_fraction=0.2, size=32,
                               pretrained=str(tmp_path / 'a.pth'), regularization=[0.1])
    assert (report.arrays['test'] == 3).all()


@pytest.mark.slow
def test_pixels_are_classified_from_maps(weights, tmp_path):
    """Even random features separate sky from road; the maps have the channels of both stages."""
    report = evaluate_features('rest_lite', seg_folder=STREETS, pretrained=weights, size=64, stages=[1, 2],
                               regularization=[1e-3], save=tmp_path / 'maps.npz')
    assert 5 < report.linear_probe < report.pixel_accuracy and report.pixel_accuracy > 40  # most frequent class: 30 %
    maps = np.load(tmp_path / 'maps.npz')
    assert len(maps) == 70 and {x.shape for x in maps.values()} == {(384, 8, 11)}
    assert 'mIoU' in str(report) and not report.nearest_neighbors


@pytest.mark.slow
def test_images_of_the_same_name_have_maps_of_their_own(weights, tmp_path):
    for kind, split in ((kind, split) for kind in ('images', 'masks') for split in ('train', 'val')):
        for town, file in zip('ab', sorted(Path(STREETS, kind, split).iterdir()), strict=False):
            target = tmp_path / 'streets' / kind / split / town
            target.mkdir(parents=True)
            shutil.copy(file, target / f'0{file.suffix}')
    shutil.copy(Path(STREETS, 'classes.txt'), tmp_path / 'streets')
    evaluate_features('rest_lite', seg_folder=str(tmp_path / 'streets'), pretrained=weights, size=64, stages=[2],
                      regularization=[1e-3], save=tmp_path / 'maps.npz')
    maps = np.load(tmp_path / 'maps.npz')
    assert sorted(maps) == ['test/a/0', 'test/b/0', 'train/a/0', 'train/b/0']
    assert not np.array_equal(maps['train/a/0'], maps['train/b/0'])


@pytest.mark.slow
def test_boxes_are_classified_from_pooled_maps(weights):
    report = evaluate_features('rest_lite', coco_folder=OBJECTS, pretrained=weights, size=64, stages=[2],
                               neighbors=[1], regularization=[1e-3])
    assert '243 training boxes, 131 test boxes, 256 features' in report.about
    found = report.arrays
    nearest = top1_of_nearest(*(found[f'{split}_{name}'] for split in ('train', 'test')
                                for name in ('embeddings', 'labels')))
    assert report.nearest_neighbors[1] == pytest.approx(nearest, abs=1)
    assert len(found['test_boxes']) == len(found['test_images']) == 131
    with raises(UsageError, 'stages', '0 to 3', '4'):
        evaluate_features('rest_lite', coco_folder=OBJECTS, pretrained=weights, size=64, stages=[4])


@pytest.mark.parametrize('network, options, words', [
    ('rest_lite', dict(pretrained=False), ['rest_lite', 'pretrained']),
    ('imagenet_reswin_t', {}, ['imagenet_reswin_t', 'pretrained']),
    ('rest_lite', dict(stages=[1]), ['stages', 'class_folder']), ('none', {}, ['none']),
    ('rest_lite', dict(regularization=[0.1, 0]), ['regularization', '0']),
    ('rest_lite', dict(save='data/val/rose/1.jpg'), ['save', '.npz', '1.jpg'])])
def test_wrong_arguments_are_refused(network, options, words):
    with raises(UsageError, *words):
        evaluate_features(network, class_folder=FLOWERS, **options)


@pytest.mark.parametrize('neighbors', [[0], [1, 61]])
def test_numbers_of_neighbors(neighbors):
    check_neighbors([1, 60], 60)
    with raises(UsageError, 'neighbors', 'from 1 to 60', neighbors[-1]):
        check_neighbors(neighbors, 60)


@pytest.mark.parametrize('labels, strengths, words', [
    ([0, 0, 1, 1], [0.1, 1.], ['regularization', '3 training images', '0.1']), ([1, 1, 1, 1], [0.1], ['two classes'])])
def test_too_few_training_images_for_the_linear_probe(labels, strengths, words):
    with raises(UsageError, *words):
        linear_probe(np.random.default_rng(0).normal(size=(4, 3)), np.array(labels), strengths)


def test_the_linear_probe_selects_a_regularization():
    labels = np.arange(30) % 2
    vectors = np.stack([10. * labels, np.random.default_rng(0).normal(size=30)], axis=1)
    for strengths in [1.], [0.1, 1.]:
        probe, strength = linear_probe(vectors, labels, strengths)
        assert (probe.predict(vectors) == labels).all() and strength in strengths
