"""Stops training early, also if it is interrupted and resumed."""
from typing import Any

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

STATE = 'early_stop'  # key in MMEngine's message hub, which checkpoints contain


@HOOKS.register_module()
class ResumableEarlyStoppingHook(EarlyStoppingHook):
    """Is MMEngine's ``EarlyStoppingHook`` for runs that may be resumed: it keeps its best score and how long it waits.

    MMEngine saves a checkpoint before the validation. A run that resumes there validates first, so a run that was
    stopped early stops again.

    Args:
        begin_above (float | None): The score from which on it waits; a detector may find nothing at first. Defaults to
            None: from the first validation on.
        **options: Arguments of MMEngine's hook.

    Example:
        >>> custom_hooks = [dict(type='ResumableEarlyStoppingHook', monitor='mIoU', rule='greater', patience=3)]
    """

    def __init__(self, begin_above: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.begin_above = begin_above

    def before_train(self, runner: Runner) -> None:
        state = runner.message_hub.runtime_info.get(STATE) or {}
        self.best_score = state.get('best_score', self.best_score)
        self.wait_count = state.get('wait_count', self.wait_count)
        if runner.iter and runner.val_loop is not None and state.get('iter') != runner.iter and is_validated(runner):
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        score = (metrics or {}).get(self.monitor)
        if self.begin_above is None or score is None or max(score, self.best_score) > self.begin_above:
            super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(STATE, dict(
            best_score=float(self.best_score), wait_count=self.wait_count, iter=runner.iter))


def is_validated(runner: Runner) -> bool:
    """Returns whether a training validates at its present step, which may be within an epoch."""
    loop: Any = runner.train_loop
    if not isinstance(loop, EpochBasedTrainLoop):
        number, last = loop.iter, loop.max_iters
    elif loop.iter == loop.epoch * len(loop.dataloader):
        number, last = loop.epoch, loop.max_epochs
    else:
        return False
    return number >= loop.val_begin and (number % loop.val_interval == 0 or number == last)
