"""Finds schedules of the learning rate that end long before the training does."""
from collections.abc import Iterator
from math import inf
from typing import Any

from mmengine.config import Config

DECAYING = 'CosineAnnealing', 'Poly', 'OneCycle'  # what the names of MMEngine's classes begin with
LEAST = 0.9  # share of the training


def schedule_warning(cfg: Config, steps_per_epoch: int) -> str:
    """Returns a warning if the last schedule decays and ends before 90 % of the training, or else an empty text.

    The rest of such a training has the lowest rate, which is often 0.

    Args:
        cfg (Config): Config of the run.
        steps_per_epoch (int): Number of steps in an epoch.
    """
    epochs, steps = cfg.train_cfg.get('max_epochs'), cfg.train_cfg.get('max_iters')
    length = epochs * steps_per_epoch if epochs else steps
    ends = []
    for schedule in schedules_of(cfg.get('param_scheduler')):
        kind = schedule.get('type')
        name, begin = kind if isinstance(kind, str) else getattr(kind, '__name__', ''), schedule.get('begin', 0)
        periods = [schedule[key] for key in ('T_max', 'total_steps') if schedule.get(key)]
        end = min([schedule.get('end', inf), *(begin + period for period in periods)])
        if schedule.get('by_epoch', True):
            if not epochs:
                continue
            end *= steps_per_epoch
        ends.append((end, name.rpartition('.')[2]))
    end, name = max(ends, default=(inf, ''))
    if not length or end >= LEAST * length or not name.startswith(DECAYING):
        return ''
    return (f'param_scheduler: {name} ends after {end} of {length} steps, and the other {1 - end / length:.0%} of the '
            'training have its lowest rate; set its end and T_max to the length of the training (a recipe of mmvit: '
            'mmvit train RECIPE --epochs N)')


def schedules_of(settings: Any) -> Iterator[dict]:
    """Yields the schedules in a config's ``param_scheduler``: one, a list, or those of several optimizers by name."""
    if isinstance(settings, dict) and 'type' in settings:
        yield settings
    elif settings:
        for part in settings.values() if isinstance(settings, dict) else settings:
            yield from schedules_of(part)
