"""Names a setting that waits for a metric which validations do not have."""
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.runner import Runner

from mmvit_backbones.errors import UsageError


class MetricNamesHook(Hook):
    """Raises UsageError if a hook or a scheduler waits for a metric that a validation does not have.

    These choose the best checkpoint, stop early or lower the rate; MMEngine raises a KeyError, or never does anything.
    """

    priority = 'VERY_HIGH'

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
        waiting = [('default_hooks.checkpoint.save_best', name) for hook in runner.hooks
                   if isinstance(hook, CheckpointHook) for name in hook.save_best or ()]
        waiting += [(f'{type(part).__name__}.monitor', part.monitor) for part in (*runner.hooks, *schedulers)
                    if isinstance(part, (EarlyStoppingHook, ReduceOnPlateauParamScheduler))]
        for setting, name in waiting:
            if metrics and name not in ('auto', *metrics):  # without an object, mmdet gives none
                raise UsageError(f'{setting} must be auto or one of {", ".join(metrics)}, got {name!r}')
