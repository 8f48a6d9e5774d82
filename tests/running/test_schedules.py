"""A schedule that ends long before the training is a warning."""
import pytest
from mmengine.config import Config

from mmvit.running.schedules import schedule_warning

EPOCHS, STEPS = dict(by_epoch=True, max_epochs=30), dict(by_epoch=False, max_iters=300)
WARM_UP = dict(type='LinearLR', by_epoch=False, begin=0, end=10)


@pytest.mark.parametrize('length, schedules, warns', [
    (EPOCHS, [WARM_UP, dict(type='CosineAnnealingLR', by_epoch=False, begin=10, end=100)], True),
    (EPOCHS, [WARM_UP, dict(type='CosineAnnealingLR', by_epoch=False, begin=10, end=300)], False),
    (EPOCHS, dict(type='CosineAnnealingLR', T_max=20), True),
    (EPOCHS, [dict(type='PolyLR', begin=0, end=28)], False),
    (EPOCHS, [dict(type='mmengine.PolyLR', begin=0, end=20, convert_to_iter_based=True)], True),
    (STEPS, [dict(type='OneCycleLR', eta_max=0.1, total_steps=200, by_epoch=False)], True),
    (STEPS, dict(first=[dict(type='PolyLR', by_epoch=False, end=200)], second=[WARM_UP]), True),
    (EPOCHS, [dict(type='CosineAnnealingLR', end=20), dict(type='ConstantLR', begin=20, end=30)], False),
    (EPOCHS, [WARM_UP, dict(type='MultiStepLR', milestones=[5, 8], end=12)], False),
    (EPOCHS, [WARM_UP], False), (EPOCHS, None, False)])
def test_decaying_schedules_that_end_early_are_named(length, schedules, warns):
    """The training has 30 epochs of 10 steps."""
    text = schedule_warning(Config(dict(train_cfg=length, param_scheduler=schedules)), 10)
    assert bool(text) == warns and (not warns or 'of 300 steps' in text)
