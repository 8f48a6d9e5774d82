"""The loss of the recipe's segmenters, with weights of the classes and samplers of pixels."""
from functools import partial

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fine_tunings import recipe
from helpers import raises
from mmengine.registry import init_default_scope
from sklearn.utils.class_weight import compute_class_weight

from mmvit.recipes import fine_tune
from mmvit.running.rehearsal import rehearse
from mmvit_backbones.errors import UsageError

pytestmark = pytest.mark.usefixtures('frameworks')


@pytest.mark.parametrize('weights', [None, [.5, 0., 2.]])
def test_the_loss_is_the_mean_of_pytorch(weights):
    from mmvit_backbones.integrations.linear_decode_head import LabeledCrossEntropy
    logits = torch.randn(2, 3, 5, 4, dtype=torch.double, requires_grad=True)
    labels = torch.randint(3, (2, 5, 4))
    labels[0, :2] = 255
    loss = partial(LabeledCrossEntropy(class_weight=weights), ignore_index=255)
    found, expected = loss(logits, labels), F.cross_entropy(
        logits, labels, logits.new_tensor(weights) if weights else None, ignore_index=255)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(each, logits)[0] for each in (found, expected)))
    nothing = loss(logits, torch.full_like(labels, 255))
    assert not nothing and not torch.autograd.grad(nothing, logits)[0].any()


@pytest.mark.parametrize('options', [dict(thresh=.7), {}])
def test_samplers_choose_pixels_of_the_loss(options, tmp_path):
    cfg = recipe(tmp_path, 'seg_folder', size=64)
    cfg.model.decode_head.update(sampler=dict(type='OHEMPixelSampler', min_kept=100, **options))
    cfg.model.decode_head.loss_decode.class_weight = [1.] * 11
    init_default_scope('mmseg')
    rehearse(cfg)


@pytest.mark.parametrize(('loss', 'words'), [
    (dict(class_weight=[1., 2.]), ['model.decode_head.loss_decode', 'class_weight', '11 numbers', '[1.0, 2.0]']),
    (dict(class_weight=[-1.] + [1.] * 10), ['11 numbers from 0', '-1.0']),
    (dict(_delete_=True, type='CrossEntropyLoss', avg_non_ignore=True, class_weight=[1.] * 11),
     ['model.decode_head.loss_decode', 'class_weight', 'avg_non_ignore=True', 'avg_non_ignore=False'])])
def test_weights_of_classes_that_cannot_be_used_are_refused(loss, words, tmp_path):
    cfg = recipe(tmp_path, 'seg_folder', size=64)
    cfg.merge_from_dict(dict(model=dict(decode_head=dict(loss_decode=loss))))
    with raises(UsageError, *words):
        rehearse(cfg)


def test_rare_classes_count_more(tmp_path):
    """With the square root of scikit-learn's balanced weights, at most 10; pixels without a class are left out."""
    masks = np.zeros((4, 40, 50), np.uint8)
    masks[:, :3], masks[0, 5, :9], masks[2, 20:] = 1, 2, 255
    for part, first in dict(train=0, val=2).items():
        for kind in 'images', 'masks':
            (tmp_path / kind / part).mkdir(parents=True)
        for number in range(first, first + 2):
            cv2.imwrite(str(tmp_path / f'masks/{part}/{number}.png'), masks[number])
            cv2.imwrite(str(tmp_path / f'images/{part}/{number}.png'), masks[number])
    (tmp_path / 'classes.txt').write_text('ground\npole\nsign\n')
    found = fine_tune('rest_lite', seg_folder=str(tmp_path), size=32, work_dir=str(tmp_path / 'run'), pretrained=False)
    weights = np.sqrt(compute_class_weight('balanced', classes=np.arange(3), y=masks[:2].ravel()))
    expected = np.minimum(weights / weights[0], 10)
    np.testing.assert_allclose(found.model.decode_head.loss_decode.class_weight, expected, atol=.01)
    assert expected.tolist()[0] == 1 and expected[2] == 10
