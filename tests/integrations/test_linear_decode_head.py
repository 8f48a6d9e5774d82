"""The loss of the recipe's segmenters, with weights of the classes and samplers of pixels."""
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from fine_tunings import recipe
from helpers import raises
from mmengine.registry import init_default_scope

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
