"""Checks before training: the length of the schedule, and the optimizer."""
import pytest
import torch
from helpers import raises
from mmengine.optim import ConstantLR, CosineAnnealingLR, LinearLR
from torch import nn

from mmvit_backbones.errors import UsageError
from mmvit_backbones.training.checks import check_optimizer
from mmvit_backbones.training.plan import unfitting_schedule
from mmvit_backbones.utils.config import load_config


def unfitting(*schedules: tuple[type, dict]) -> str | None:
    """Returns the warning for a run of 100 steps with ten steps per epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.)
    return unfitting_schedule([kind(optimizer, **options) for kind, options in schedules], 100, 10)


WARM_UP = LinearLR, dict(start_factor=0.1, by_epoch=False, end=5)


@pytest.mark.parametrize('schedules', [
    [], [WARM_UP], [WARM_UP, (ConstantLR, dict(by_epoch=True, end=3))],
    [WARM_UP, (CosineAnnealingLR, dict(T_max=10, by_epoch=True, end=10))],
    [(CosineAnnealingLR, dict(T_max=100, by_epoch=False, end=100))],
    [(CosineAnnealingLR, dict(T_max=9, by_epoch=True, end=9))],  # the last rate is kept for the remaining steps
    [(CosineAnnealingLR, dict(T_max=100, by_epoch=False))]])
def test_schedules_that_fit(schedules):
    assert unfitting(*schedules) is None


@pytest.mark.parametrize('by_epoch, end, steps', [(True, 20, 200), (True, 8, 80), (False, 101, 101), (False, 89, 89)])
def test_schedules_that_do_not_fit(by_epoch, end, steps):
    cosine = CosineAnnealingLR, dict(T_max=end, by_epoch=by_epoch, end=end)
    assert f'{steps} steps, but training has 100' in unfitting(WARM_UP, cosine)


def test_several_optimizers_of_a_custom_constructor_are_not_checked():
    cfg = load_config('imagenet_reswin_t')
    check_optimizer(cfg)
    cfg.optim_wrapper.optimizer.type = 'SGDD'
    with raises(UsageError, 'optim_wrapper.optimizer', 'SGDD'):
        check_optimizer(cfg)
    cfg.optim_wrapper = dict(constructor='Several', optimizer=dict(first=dict(type='SGDD')))
    check_optimizer(cfg)
    cfg.optim_wrapper = dict(constructor='Several')
    check_optimizer(cfg)
