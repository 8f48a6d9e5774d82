"""Warns of a schedule of the learning rate that ends long before the training does."""
from math import inf
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import CosineAnnealingParamScheduler, OneCycleParamScheduler, PolyParamScheduler
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

DECAYING = CosineAnnealingParamScheduler, OneCycleParamScheduler, PolyParamScheduler
LEAST = 0.9  # share of the training


@HOOKS.register_module()
class ScheduleLengthHook(Hook):
    """Warns if the last schedule decays and ends before 90 % of the training, whose rest has its lowest rate, often 0.

    Example:
        >>> custom_hooks = [dict(type='ScheduleLengthHook')]
    """

    def before_train(self, runner: Runner) -> None:
        loop: Any = runner.train_loop
        schedulers: Any = runner.param_schedulers or []
        if isinstance(schedulers, dict):  # of several optimizers, by name
            schedulers = [scheduler for each in schedulers.values() for scheduler in each]
        epochs = loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else inf
        ends = [(end_of(each) / (epochs if each.by_epoch else loop.max_iters), each) for each in schedulers]
        share, last = max(ends, key=lambda end: end[0], default=(1, None))
        if 0 < share < LEAST and isinstance(last, DECAYING):
            runner.logger.warning(
                f'param_scheduler: {type(last).__name__} ends after {share:.0%} of the training, and the rest has its '
                'lowest rate; set its end and T_max to the length of the training')


def end_of(scheduler: Any) -> float:
    """Returns the epoch or step at which a schedule reaches its last value."""
    length = min(getattr(scheduler, name, None) or inf for name in ('T_max', 'total_steps'))
    return min(scheduler.end, scheduler.begin + length)
