"""A schedule that ends long before the training is a warning."""
from contextlib import suppress

import pytest
from mmengine.registry import HOOKS
from tiny_runs import loader_of, log_of, runner_of

EPOCHS, STEPS = dict(by_epoch=True, max_epochs=10), dict(by_epoch=False, max_iters=40)
WARM_UP = dict(type='LinearLR', by_epoch=False, begin=0, end=2)


@pytest.mark.parametrize('length, schedules, warns', [
    (EPOCHS, [WARM_UP, dict(type='CosineAnnealingLR', by_epoch=False, begin=2, end=14)], True),
    (EPOCHS, [WARM_UP, dict(type='CosineAnnealingLR', by_epoch=False, begin=2, end=40)], False),
    (EPOCHS, dict(type='CosineAnnealingLR', T_max=7), True),
    (EPOCHS, [dict(type='PolyLR', begin=0, end=9)], False),
    (EPOCHS, [dict(type='mmengine.PolyLR', begin=0, end=7, convert_to_iter_based=True)], True),
    (STEPS, [dict(type='OneCycleLR', eta_max=0.01, total_steps=28, by_epoch=False)], True),
    (EPOCHS, [dict(type='CosineAnnealingLR', end=7), dict(type='ConstantLR', begin=7, end=10)], False),
    (EPOCHS, [WARM_UP, dict(type='MultiStepLR', milestones=[2, 3], end=4)], False),
    (EPOCHS, [WARM_UP], False), (EPOCHS, None, False)])
def test_decaying_schedules_that_end_early_are_named(length, schedules, warns, tmp_path):
    """The training has 40 steps, 4 per epoch."""
    sampler = 'InfiniteSampler' if length == STEPS else 'DefaultSampler'
    runner = runner_of(tmp_path, train_cfg=length, param_scheduler=schedules, default_hooks={},
                       train_dataloader=loader_of(sampler=sampler), custom_hooks=[dict(type='ScheduleLengthHook')])
    with suppress(ValueError):  # PyTorch's and MMEngine's one-cycle schedule cannot be continued beyond its end
        runner.train()
    text = log_of(tmp_path)
    assert ('param_scheduler: ' in text) == warns
    assert not warns or any(f'ends after {share} of the training' in text for share in ('35%', '70%'))


def test_schedules_of_several_optimizers(tmp_path):
    runner = runner_of(tmp_path, param_scheduler=dict(type='PolyLR', end=2), default_hooks={}, custom_hooks=[])
    runner.train()
    runner.param_schedulers = dict(first=[], second=runner.param_schedulers)
    HOOKS.build(dict(type='ScheduleLengthHook')).before_train(runner)
    assert 'PolyLR ends after 67% of the training' in log_of(tmp_path)
