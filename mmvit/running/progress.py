"""Shows a training while it runs, in at most some forty lines."""
import math
import re
import statistics
import time
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..configs.tasks import find_task
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
        self.steps, self.unshown = 0, 0  # since the start, and since the last line
        self.begin, self.validation = 0., 0.  # when the first step ended; seconds of a validation, until there is one

    def before_train(self, runner: Runner) -> None:
        self.best, self.validation = runner.message_hub.runtime_info.get('best_ckpt'), time_validation(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        loop: Any = runner.train_loop
        step, now = loop.iter + 1, time.perf_counter()
        self.begin, self.steps, self.unshown = self.begin or now, self.steps + 1, self.unshown + 1
        if self.steps == STEPS:
            times, _ = runner.message_hub.get_scalar('train/time').data
            self.print(describe_pace(loop, statistics.median(times[1 - STEPS:]), self.validation, done=step))
        if is_shown(loop, batch_idx):
            seconds = (now - self.begin) / max(self.steps - 1, 1) * (loop.max_iters - step)
            left = describe_time(seconds + self.validation * count_validations(loop))
            loss = runner.message_hub.get_scalar('train/loss').mean(self.unshown)
            self.print(f'epoch {loop.epoch + 1} of {loop.max_epochs}  step {step} of {loop.max_iters}  '
                       f'loss {loss:.4f}  rate {rates_of(runner)}  {left} left')
            self.unshown = 0

    def before_val_epoch(self, runner: Runner) -> None:
        self.tables.clear()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.validation = 0.  # now in the time since the first step
        name, best = find_task(runner.cfg.default_scope).metric, runner.message_hub.runtime_info.get('best_ckpt')
        is_best = best != self.best
        if is_best:
            self.best, self.tables_of_best = best, [*self.tables]
        if name in (metrics or {}):
            self.print(f'validation  epoch {runner.epoch}  {name} {metrics[name]:.4g}{", the best so far" * is_best}')

    def after_train(self, runner: Runner) -> None:
        if self.best:
            epoch, score = re.search(r'epoch_(\d+)', self.best), runner.message_hub.get_info('best_score')
            self.print(f'best        {score:.4g} after epoch {epoch and epoch[1]}: {short_path(self.best)}',
                       *self.tables_of_best)

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
