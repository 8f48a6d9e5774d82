"""Evaluations are logged next to the published ones if the run is comparable."""
from dataclasses import replace

import pytest
from mmengine.hooks import EMAHook
from tiny_runs import log_of, runner_of

from mmvit_backbones.training.published import PublishedCurveHook
from mmvit_backbones.zoo.curves import CURVES

pytestmark = pytest.mark.usefixtures('own_signals')
TINY = dict(images=8, images_per_update=2, length=3)  # as the tiny run


def evaluations(work_dir, curve, values: dict[int, dict], averaged: bool = False) -> str:
    """Returns what a run logs that has these metrics after these epochs or iterations."""
    runner = runner_of(work_dir)
    if averaged:
        runner.register_hook(EMAHook())
    hook = PublishedCurveHook(curve)
    hook.before_train(runner)
    for at, metrics in values.items():
        runner.train_loop._epoch = runner.train_loop._iter = at
        hook.after_val_epoch(runner, metrics)
    return log_of(work_dir)


def test_published_values_are_logged(tmp_path):
    curve = replace(CURVES['mask_rcnn_vitaev2_s_3x'], **TINY)
    log = evaluations(tmp_path, curve, {3: {'coco/bbox_mAP': 0.36, 'coco/segm_mAP': 0.35}, 4: {'loss': 1.}})
    assert 'box AP 36.0, published at this epoch 36.1; mask AP 35.0, published at this epoch 34.2' in log
    assert curve.source in log and 'behind' not in log and 'not comparable' not in log


def test_a_run_that_falls_behind_is_reported_once(tmp_path):
    curve = replace(CURVES['imagenet_vitaev2_s'], **TINY)
    top1 = {epoch: {'accuracy/top1': curve.values('accuracy/top1', averaged=False)[epoch] - 5} for epoch in (80, 81)}
    log = evaluations(tmp_path, curve, top1)
    assert log.count('published at this epoch') == 2 and log.count('fallen behind') == 1


def test_averaged_weights_are_compared_with_averaged_weights(tmp_path):
    """Published averaged weights are at chance at first, which is said, and is no reason to worry."""
    curve = replace(CURVES['imagenet_vitaev2_s'], **TINY)
    log = evaluations(tmp_path, curve, {10: {'accuracy/top1': 0.1}}, averaged=True)
    assert 'at chance until epoch 16' in log and 'from epoch 40' in log
    assert 'top-1 0.1 %, published at this epoch 0.1 %' in log and 'behind' not in log


@pytest.mark.parametrize('change, words', [
    (dict(images_per_update=16), '2 images per update instead of 16'),
    (dict(length=300), '3 epochs instead of 300 epochs'),
    (dict(length=3, unit='iteration'), '3 epochs instead of 3 iterations'),
    (dict(images=1000), '8 training images instead of 1000')])
def test_other_runs_are_not_compared(tmp_path, change, words):
    curve = replace(CURVES['imagenet_vitaev2_s'], **{**TINY, **change})
    log = evaluations(tmp_path, curve, {80: {'accuracy/top1': 1.}})
    assert f'not comparable: {words}' in log and 'published at this' not in log
