"""Names a setting that waits for a metric which validations do not have."""
from collections.abc import Iterator
from typing import Any

from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.runner import Runner

from mmvit_backbones.errors import UsageError


def check_prefixes(runner: Runner, evaluator: Any) -> None:
    """Raises UsageError if a part waits for a metric that begins with no prefix of those of an evaluator."""
    prefixes = [metric.prefix for metric in getattr(evaluator, 'metrics', ())]
    for setting, name in waiting(runner) if prefixes and None not in prefixes else ():
        if name != 'auto' and name.partition('/')[0] not in prefixes:
            allowed = ', '.join(f'{prefix}/...' for prefix in prefixes)
            raise UsageError(f'{setting} must be auto or one of {allowed}, got {name!r}')


def waiting(runner: Runner) -> Iterator[tuple[str, str]]:
    """Yields the settings of hooks and schedulers that wait for a metric, and its name."""
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
    for part in (*runner.hooks, *schedulers):
        if isinstance(part, CheckpointHook):
            yield from (('default_hooks.checkpoint.save_best', name) for name in part.save_best or ())
        elif isinstance(part, (EarlyStoppingHook, ReduceOnPlateauParamScheduler)):
            yield f'{type(part).__name__}.monitor', part.monitor
