"""ImageNet-ReaL with a generated label file in the published format."""
import json

import pytest
import torch
from helpers import raises
from mmengine.registry import METRICS
from mmengine.structures import BaseDataElement

from mmvit_backbones.evaluation.imagenet_real import image_index

NUM_IMAGES = 50_000


@pytest.fixture
def label_file(tmp_path):
    """A label file whose first three images have two classes, one class and no class."""
    labels = [[3, 7], [1], []] + [[0]] * (NUM_IMAGES - 3)
    (tmp_path / 'real.json').write_text(json.dumps(labels))
    return tmp_path / 'real.json'


def sample(number: int, best: int, second: int = 9) -> dict:
    """Returns a prediction as mmpretrain's classifiers pass it to metrics."""
    scores = torch.zeros(10)
    scores[best], scores[second] = 2., 1.
    element = BaseDataElement(metainfo=dict(img_path=f'/val/n01440764/ILSVRC2012_val_{number:08d}.JPEG'))
    element.pred_score = scores
    return element.to_dict()


def evaluate(label_file, samples: list[dict], **arguments) -> dict:
    metric = METRICS.build(dict(type='ImageNetReaL', label_file=str(label_file), **arguments))
    metric.process({}, samples)
    return metric.evaluate(size=len(samples))


def test_any_label_of_an_image_is_a_hit(label_file):
    """Images without labels are left out."""
    assert evaluate(label_file, [sample(1, best=7), sample(2, best=7)]) == {'real/top1': 50.}
    assert evaluate(label_file, [sample(1, best=3), sample(3, best=0)]) == {'real/top1': 100.}


def test_top_k(label_file):
    got = evaluate(label_file, [sample(1, best=0, second=3), sample(2, best=0, second=3)], topk=(1, 2))
    assert got == {'real/top1': 0., 'real/top2': 50.}
    assert evaluate(label_file, [sample(1, best=0, second=3)], topk=2) == {'real/top2': 100.}


@pytest.mark.parametrize('content', ['[[1], [2]]', '{"a": 1}', '[[1', None])
def test_bad_label_files_are_named(tmp_path, content):
    if content is not None:
        (tmp_path / 'bad.json').write_text(content)
    with raises(ValueError, 'label_file', 'bad.json', '50000'):
        evaluate(tmp_path / 'bad.json', [])


def test_numbers_of_validation_images():
    assert [image_index(f'/val/ILSVRC2012_val_{number:08d}.JPEG') for number in (1, 50_000)] == [0, 49_999]
    for name in 'ILSVRC2012_val_00000000.JPEG', 'ILSVRC2012_val_00050001.JPEG', 'ILSVRC2012_val_1.JPEG', 'cat.jpg':
        with raises(ValueError, name):
            image_index(f'/val/{name}')
