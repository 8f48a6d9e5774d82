"""Shows a run in the terminal: a bar, a line per validation and warnings. The log file has every line."""
import io
import logging
import os.path as osp
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import timedelta

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..utils.shell import console_of, short_path
from ..utils.tables import NO_OBJECTS

SECONDS_PER_DRAWING = 0.25
STEPS_PER_LINE = 20  # without a terminal; as in the log of recipes
WIDTH = 90  # of the line of a validation, in columns


@contextmanager
def shown_in_terminal(runner: Runner) -> Iterator[None]:
    """Shows a bar, a line per validation, and the best checkpoint of a run, instead of the lines of MMEngine's log.

    The console shows only warnings and errors of the log, and what is printed while data sets are read or the model is
    evaluated goes to the log file. In a test, the log is shown again once all images are predicted, because metrics log
    their tables of classes. Without a terminal, e.g. in a pipe, lines take the place of the bar.
    """
    if runner.rank != 0:
        yield
        return
    with ExitStack() as changes:
        hook = TerminalHook(runner, changes)
        runner.register_hook(hook, 'LOWEST')  # after the hooks that keep the loss and the best checkpoint
        yield


class TerminalHook(Hook):
    """Is the hook of :func:`shown_in_terminal`; ``changes`` undoes at the end what is changed in the console."""

    def __init__(self, runner: Runner, changes: ExitStack) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        self.changes, self.console, self.drawn = changes, console_of(sys.stdout), 0.
        self.bar: Progress | None = None
        if self.console.is_interactive:
            # Without a thread that draws, no worker process inherits a locked standard output.
            self.bar = changes.enter_context(Progress(
                TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                TextColumn('{task.fields[note]}'), console=self.console, transient=True, auto_refresh=False,
                speed_estimate_period=600))
        for handler in console_handlers(runner.logger):
            changes.callback(handler.setLevel, handler.level)
            changes.callback(handler.setStream, handler.stream)
            changes.callback(handler.removeFilter, concerns_users)
            handler.setLevel(max(handler.level, logging.WARNING))
            handler.setStream(sys.stdout)  # of the bar, above which it writes
            handler.addFilter(concerns_users)
        self.prints = changes.enter_context(ExitStack())  # lets what is printed go to the log
        self.log_prints(runner)

    def log_prints(self, runner: Runner) -> None:
        self.prints.enter_context(redirect_stdout(LogLines(runner.logger)))

    def before_train(self, runner: Runner) -> None:
        self.prints.close()
        if runner.iter:
            self.say(f'resumed after step {runner.iter}')

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None,
                         outputs: dict | None = None) -> None:
        if self.bar is None and self.every_n_train_iters(runner, STEPS_PER_LINE):
            parts = [f'step {runner.iter + 1}/{runner.max_iters}', *loss_of(runner), *rate_of(runner)]
            self.say(', '.join(parts))
        self.draw('training', runner.iter + 1, runner.max_iters, ''.join(loss_of(runner)))

    def before_val_epoch(self, runner: Runner) -> None:
        self.log_prints(runner)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None) -> None:
        self.draw('validating', batch_idx + 1, len(runner.val_dataloader))

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        self.prints.close()
        self.say(', '.join([place_of(runner), *loss_of(runner), *short_metrics(metrics or {})]))

    def after_train(self, runner: Runner) -> None:
        if getattr(runner.train_loop, 'stop_training', False):
            self.say(f'stopped early after {place_of(runner)}')
        for line in best_of(runner):
            self.say(line)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: object = None,
                        outputs: object = None) -> None:
        total = len(runner.test_dataloader)
        self.draw('testing', batch_idx + 1, total)
        if batch_idx + 1 == total:
            self.changes.close()

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def draw(self, description: str, done: int, total: int, note: str = '') -> None:
        """Draws the bar, a few times per second."""
        if self.bar is None or done < total and time.monotonic() - self.drawn < SECONDS_PER_DRAWING:
            return
        self.drawn = time.monotonic()
        shown = {task.description: task.id for task in self.bar.tasks}
        if description not in shown:
            shown[description] = self.bar.add_task(description, note='')
        is_part = description == 'validating'
        self.bar.update(shown[description], completed=done, total=total, note=note,
                        visible=not is_part or done < total)
        self.bar.refresh()


def concerns_users(record: logging.LogRecord) -> bool:
    """Returns whether a record is no deprecation of functions that OpenMMLab itself calls."""
    return 'will be deprecated in future' not in record.getMessage()


class LogLines(io.TextIOBase):
    """A file whose lines are logged, such as what pycocotools prints."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def write(self, text: str) -> int:
        if text.strip():
            self.logger.info(text.rstrip())
        return len(text)


def console_handlers(logger: logging.Logger) -> Iterator[logging.StreamHandler]:
    """Yields the handlers of a logger that write to the console."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            yield handler


def place_of(runner: Runner) -> str:
    """Returns the epoch that has ended, or the step of a training without epochs."""
    return f'epoch {runner.epoch}' if isinstance(runner.train_loop, EpochBasedTrainLoop) else f'step {runner.iter}'


def loss_of(runner: Runner) -> list[str]:
    """Returns the last loss of a training with its name, if there is one."""
    loss = runner.message_hub.log_scalars.get('train/loss')
    return [f'loss {loss.current():.4g}'] if loss is not None else []


def rate_of(runner: Runner) -> list[str]:
    """Returns the learning rate and the time left of a training, with their names."""
    rate, left = runner.message_hub.log_scalars.get('train/lr'), runner.message_hub.runtime_info.get('eta')
    return ([f'lr {rate.current():.4g}'] if rate is not None else []) + (
        [f'{timedelta(seconds=int(left))} left'] if left is not None else [])


def short_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Returns as many metrics with their values as fit into a line; short names, such as mIoU, are of summaries."""
    parts = [f'{name} {metrics[name]:.4g}' for name in sorted(metrics, key=len) if metrics[name] != NO_OBJECTS]
    return [part for i, part in enumerate(parts) if i == 0 or len(', '.join(parts[:i + 1])) < WIDTH - 20]


def best_of(runner: Runner) -> list[str]:
    """Returns a line for each metric by which a training selects checkpoints: its best value and the file."""
    info, lines = runner.message_hub.runtime_info, []
    for hook in runner.hooks:
        names = getattr(hook, 'key_indicators', None) or () if isinstance(hook, CheckpointHook) else ()
        for name in names:
            suffix = f'_{name}' if len(names) > 1 else ''
            if osp.isfile(str(info.get(f'best_ckpt{suffix}'))):
                lines.append(f'best: {name} {info[f"best_score{suffix}"]:.4g}, '
                             f'{short_path(str(info[f"best_ckpt{suffix}"]))}')
    return lines
