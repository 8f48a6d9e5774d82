"""Shows a training while it runs, in at most some forty lines."""
import math
import re
import statistics
import time
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from ..utils.shell import short_path
from .pace import STEPS, count_validations, describe_pace, describe_time, time_validation

LINES, FEWEST = 30, 20  # of steps, and the fewest steps from line to line within an epoch


class ProgressHook(Hook):
    """Prints how long a training takes, its steps and validations, and at the end the best one.

    Args:
        out (TextIO): Where to print.

    Attributes:
        tables (list[str]): Figures by class of the last validation, which the log has.
    """

    priority = 'LOWEST'

    def __init__(self, out: TextIO) -> None:
        self.out, self.tables = out, []
        self.best, self.tables_of_best = None, []  # checkpoint, and its figures by class
        self.times: list[float] = []  # of steps
        self.end, self.validation, self.is_validated = 0., 0., False  # of the last step; seconds of a validation
        self.unshown = 0  # steps since the last line

    def before_train(self, runner: Runner) -> None:
        self.best = runner.message_hub.runtime_info.get('best_ckpt')
        self.validation = time_validation(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        now = time.perf_counter()
        if self.is_validated:
            self.validation, self.is_validated = now - self.end, False
        self.end = now

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        loop: Any = runner.train_loop
        now = time.perf_counter()
        self.times.append(now - self.end)
        self.end, self.unshown = now, self.unshown + 1
        left, validations = loop.max_iters - runner.iter - 1, count_validations(loop, runner.epoch)
        if len(self.times) == STEPS:
            self.print(describe_pace(left, statistics.median(self.times[1:]), validations, self.validation))
        if is_shown(loop, batch_idx):
            seconds = left * statistics.fmean(self.times[1:] or self.times) + validations * self.validation
            loss = runner.message_hub.get_scalar('train/loss').mean(self.unshown)
            self.print(f'epoch {runner.epoch + 1} of {loop.max_epochs}  step {runner.iter + 1} of {loop.max_iters}  '
                       f'loss {loss:.4f}  rate {rates_of(runner)}  {describe_time(seconds)} left')
            self.unshown = 0

    def before_val_epoch(self, runner: Runner) -> None:
        self.tables.clear()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.is_validated, best = True, runner.message_hub.runtime_info.get('best_ckpt')
        is_best, name = best != self.best, metric_of(runner)
        if is_best:
            self.best, self.tables_of_best = best, [*self.tables]
        if name in (metrics or {}):
            self.print(f'validation  epoch {runner.epoch}  {name} {metrics[name]:.4g}{", the best so far" * is_best}')

    def after_train(self, runner: Runner) -> None:
        if self.best:
            epoch, score = re.search(r'epoch_(\d+)', self.best), runner.message_hub.get_info('best_score')
            self.print(f'best        {metric_of(runner)} {score:.4g}{f" after epoch {epoch[1]}" if epoch else ""}: '
                       f'{short_path(self.best)}', *self.tables_of_best)

    def print(self, *lines: str) -> None:
        if is_main_process():
            print(*lines, sep='\n', file=self.out, flush=True)


def is_shown(loop: Any, batch_idx: int) -> bool:
    """Returns whether a step has a line: several in long epochs, else the last one of an epoch, or of some."""
    length, step, epoch, epochs = len(loop.dataloader), batch_idx + 1, loop.epoch + 1, loop.max_epochs
    if step == length:
        return epoch % math.ceil(epochs / LINES) == 0 or epoch == epochs
    return epochs <= LINES and step % max(FEWEST, math.ceil(length / (LINES // epochs))) == 0


def rates_of(runner: Runner) -> str:
    """Returns the rate of new layers, and if some are pretrained that of these before its decay."""
    wrapper: Any = runner.optim_wrapper
    rates = {group['lr'] for group in wrapper.param_groups}
    mult = (runner.cfg.optim_wrapper.get('paramwise_cfg') or {}).get('pretrained_mult', 1)
    return f'{max(rates):.2g}' + (f', {mult * max(rates):.2g}' if mult != 1 and len(rates) > 1 else '')


def metric_of(runner: Runner) -> str | None:
    """Returns the metric that chooses the best checkpoint."""
    return next((hook.key_indicators[0] for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best
                 ), None)
