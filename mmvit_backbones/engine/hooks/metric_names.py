"""Names a setting that waits for a metric which validations do not have."""
from collections.abc import Iterator
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...errors import UsageError


@HOOKS.register_module()
class MetricNamesHook(Hook):
    """Compares the metrics for which hooks and schedulers wait with those of the validation.

    These choose the best checkpoint, stop early or lower the rate. The first part of a name, such as ``coco`` of
    ``coco/bbox_mAP``, is compared before the first step, the whole name after the first validation, where MMEngine's
    hooks raise a KeyError, or never do anything.

    Raises:
        UsageError: If there is no such metric; the message has the setting and the metrics.

    Example:
        >>> custom_hooks = [dict(type='MetricNamesHook')]
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        check_prefixes(runner.hooks, getattr(runner.val_loop, 'evaluator', None))

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        schedulers = runner.param_schedulers or []
        parts = [*runner.hooks, *(schedulers if isinstance(schedulers, list) else ())]
        known = metrics or {}  # without an object, mmdet gives none
        for setting, name in monitored(parts):
            if known and name not in known:
                raise UsageError(f'{setting} must be auto or one of {", ".join(known)}, got {name!r}')


def check_prefixes(hooks: list[Hook], evaluator: Any) -> None:
    """Raises UsageError if a hook waits for a metric that begins with no prefix of an evaluator's metrics."""
    prefixes = [metric.prefix for metric in evaluator.metrics] if type(evaluator) is Evaluator else []
    for setting, name in monitored(hooks) if prefixes and None not in prefixes else ():
        if name.partition('/')[0] not in prefixes:
            raise UsageError(f'{setting} must be auto or one of {", ".join(f"{prefix}/..." for prefix in prefixes)}, '
                             f'got {name!r}')


def monitored(parts: list) -> Iterator[tuple[str, str]]:
    """Yields the settings of hooks and schedulers that name a metric, and the metric."""
    for part in parts:
        if isinstance(part, CheckpointHook):
            yield from (('default_hooks.checkpoint.save_best', name) for name in part.save_best or () if name != 'auto')
        elif isinstance(part, (EarlyStoppingHook, ReduceOnPlateauParamScheduler)):
            yield f'{type(part).__name__}.monitor', part.monitor
