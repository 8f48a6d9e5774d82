"""What a run shows in the terminal: a bar, validations and warnings; its log file has every line."""
import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, EpochBasedTrainLoop
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from ..utils.distributed import is_first_process

LIBRARIES = {'mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg', 'mmvit_backbones', 'pycocotools'}
WIDTH = 90  # of the line of a validation
NO_OBJECTS = -1  # pycocotools' value, e.g. of data without small objects
PIPED = 200  # columns of tables that are not printed to a terminal

# Warnings of OpenMMLab that users cannot act on, and what is said instead of an error that is none.
NOISE = re.compile(r'The prefix is not set|Since `metrics` is an empty|.*(is skipped since its requires_grad|'
                   r'will be deprecated in future|Failed to search registry)', re.DOTALL)
PLAINER = {'The testing results of the whole dataset is empty.': 'no object was detected'}


class Report(logging.Handler):
    """Shows the validations and warnings of a run, instead of what its libraries log; without a bar, its steps too.

    The numbers are those that the runner keeps. A record only tells that there may be new ones.

    Args:
        runner (Any): Runner of MMEngine, or None.
        file (TextIO): Where lines are written.
        has_bar (bool): Whether a bar shows the steps.

    Attributes:
        tables (dict): Rows of the tables of classes that metrics log, by title; the first row names the columns.
    """

    def __init__(self, runner: Any, file: TextIO, has_bar: bool) -> None:
        super().__init__(logging.INFO)
        self.runner, self.file, self.has_bar = runner, file, has_bar
        self.validations, self.step = 0, -1
        self.folders = tuple(str(Path(module.__file__).parent) + os.sep for name in LIBRARIES
                             if (module := sys.modules.get(name)) and module.__file__)
        self.tables: dict[str, list[list[str]]] = {}
        self.title = ''

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.show(record)
        except Exception:  # as in all handlers of logging: what is shown never ends a run
            self.handleError(record)

    def show(self, record: logging.LogRecord) -> None:
        """Writes what a person needs to know of a record, and keeps tables."""
        text = record.getMessage()
        if text in PLAINER:
            self.write(PLAINER[text])
        elif record.levelno >= logging.WARNING:
            if not NOISE.match(text):
                self.write(f'{record.levelname.lower()}: {text}')
        elif record.module in ('runner', '_flexible_runner') and text.startswith('resumed'):
            self.write(text)
            self.validations = number_of_validations(self.runner)  # those of before have been loaded
        elif not record.pathname.startswith(self.folders) or record.module == 'early_stopping_hook':
            self.write(text)
        elif record.module == 'logger_hook':
            self.show_progress()
        else:
            self.collect_table(text)

    def write(self, text: str) -> None:
        now = '' if self.has_bar else time.strftime('%m/%d %H:%M:%S  ')
        print(f'{now}{text}', file=self.file, flush=True)

    def show_progress(self) -> None:
        """Shows the metrics of a validation that has ended; without a bar, or else a step of the training."""
        validations = number_of_validations(self.runner)
        if validations > self.validations:
            self.validations = validations
            parts = short_metrics({name: values.current() for name, values in metrics_of(self.runner).items()})
            self.write(', '.join([place_of(self.runner), *loss_of(self.runner), *parts]))
        elif (not self.has_bar and self.runner.message_hub.runtime_info.get('loop_stage') == 'train'
              and self.runner.iter != self.step):
            self.step = self.runner.iter
            self.write(', '.join([f'step {self.step + 1}/{self.runner.max_iters}', *loss_of(self.runner),
                                  *rate_of(self.runner)]))

    def collect_table(self, text: str) -> None:
        """Keeps a table of classes; metrics of OpenMMLab give the values of classes as text alone."""
        if text.startswith('Evaluating '):
            self.title = text.removeprefix('Evaluating ').rstrip('.')
        elif text.lstrip().startswith('+-'):
            border = text.split(maxsplit=1)[0]
            self.tables[self.title] = [cells(line, border) for line in text.splitlines() if line.startswith('|')]
        elif text.startswith('accuracy by class:'):  # of PerClassAccuracy
            self.tables['accuracy'] = [['class', '%', 'correct']] + [
                [name, value, f'{hits} of {count}'] for value, _, hits, _, count, name in (
                    line.split(maxsplit=5) for line in text.splitlines()[1:])]


def cells(row: str, border: str) -> list[str]:
    """Returns the cells of a row; they end where the border ``+---+---+`` has a plus, because names may have bars."""
    ends = {place for place, character in enumerate(border) if character == '+'}
    found, place = [], 0
    for character in row:
        if character == '|' and place in ends:
            found.append('')
        else:
            found[-1] += character
        place += cell_len(character)  # Chinese characters have a width of two
    return [cell.strip() for cell in found[:-1]]


def metrics_of(runner: Any) -> dict[str, Any]:
    """Returns the history of each metric of the validations, without their times."""
    scalars = runner.message_hub.log_scalars if runner is not None else {}
    return {name.removeprefix('val/'): values for name, values in scalars.items()
            if name.startswith('val/') and name not in ('val/time', 'val/data_time')}


def number_of_validations(runner: Any) -> int:
    return max((len(values.data[0]) for values in metrics_of(runner).values()), default=0)


def place_of(runner: Any) -> str:
    """Returns the epoch that has ended, or the step of a training without epochs."""
    return f'epoch {runner.epoch}' if isinstance(runner.train_loop, EpochBasedTrainLoop) else f'step {runner.iter}'


def loss_of(runner: Any) -> list[str]:
    """Returns the last loss of a training with its name, if there is one."""
    loss = runner.message_hub.log_scalars.get('train/loss')
    return [f'loss {loss.current():.4g}'] if loss is not None else []


def rate_of(runner: Any) -> list[str]:
    """Returns the learning rate and the time left of a training, with their names."""
    rate, left = runner.message_hub.log_scalars.get('train/lr'), runner.message_hub.runtime_info.get('eta')
    return ([f'lr {rate.current():.4g}'] if rate is not None else []) + (
        [f'{timedelta(seconds=int(left))} left'] if left is not None else [])


def short_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Returns as many metrics with their values as fit into a line; short names, such as mIoU, are of summaries."""
    parts = [f'{name} {metrics[name]:.4g}' for name in sorted(metrics, key=len) if metrics[name] != NO_OBJECTS]
    return [part for i, part in enumerate(parts) if i == 0 or len(', '.join(parts[:i + 1])) < WIDTH - 20]


class Output:
    """Standard output without what OpenMMLab and pycocotools print, which goes to the log.

    Args:
        file (TextIO): Where everything else is written by this process; its workers write to the standard output.
    """

    def __init__(self, file: TextIO) -> None:
        self.file, self.process = file, os.getpid()
        self.logger: logging.Logger | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, text: str) -> int:
        caller = sys._getframe(1).f_globals.get('__name__', '').partition('.')[0]
        if caller not in LIBRARIES:
            return (self.file if self.process == os.getpid() else sys.__stdout__ or self.file).write(text)
        if self.logger is not None and text.strip():
            self.logger.info(text.rstrip())
        return len(text)


class RunBar(Progress):
    """A bar that reads, whenever it is drawn, how far a run is; the run does not know it.

    Args:
        split (str): 'train' or 'test'.
        console (Console): Where it is drawn.
    """

    def __init__(self, split: str, console: Console) -> None:
        self.runner, self.split = None, split
        super().__init__(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn('{task.fields[note]}'), console=console, transient=True, redirect_stdout=False,
            redirect_stderr=False, refresh_per_second=4, speed_estimate_period=600)
        self.whole = self.add_task('preparing', total=None, note='')
        self.part = self.add_task('validating', total=None, note='', visible=False)

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.runner is not None and is_built(self.runner, self.split):
            if self.split == 'train':
                self.update(self.whole, description='training', completed=self.runner.iter,
                            total=self.runner.max_iters, note=''.join(loss_of(self.runner)))
                done, total = evaluated(self.runner, 'val')
                self.update(self.part, completed=done % total, total=total, visible=done % total > 0)
            else:
                done, total = evaluated(self.runner, 'test')
                self.update(self.whole, description='testing' if done < total else 'evaluating', completed=done,
                            total=total)
        yield from super().get_renderables()


def is_built(runner: Any, split: str) -> bool:
    return isinstance(getattr(runner, f'_{split}_loop', None), BaseLoop)  # its property would build it


def evaluated(runner: Any, split: str) -> tuple[int, int]:
    """Returns the number of batches that a run has evaluated in all, and in one evaluation."""
    if not is_built(runner, split):
        return 0, 1
    times = runner.message_hub.log_scalars.get(f'{split}/time')
    return 0 if times is None else len(times.data[0]), len(getattr(runner, f'_{split}_loop').dataloader)


class Screen:
    """The terminal during a run.

    Args:
        output (Output): The standard output.
        bar (RunBar | None): The bar, if there is one.

    Attributes:
        tables (dict): The tables of classes that the run logs, as in :class:`Report`.
    """

    def __init__(self, output: Output, bar: RunBar | None) -> None:
        self.output, self.bar = output, bar
        self.tables: dict[str, list[list[str]]] = {}
        self.restore = ExitStack()

    def attach(self, logger: MMLogger, runner: Any = None) -> None:
        """Replaces the console's handler of a logger by a report until :meth:`detach`; the bar reads the runner."""
        if not is_first_process():
            return
        self.output.logger = logger
        report = Report(runner, self.output.file, self.bar is not None)
        self.tables = report.tables
        for handler in list(logger.handlers):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                self.restore.callback(logger.addHandler, handler)
                logger.removeHandler(handler)
        logger.addHandler(report)
        self.restore.callback(logger.removeHandler, report)
        if self.bar is not None:
            self.bar.runner = runner

    def detach(self) -> None:
        self.restore.close()


def show_metrics(metrics: Mapping[str, float], tables: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Prints a table of metrics, and those of the classes with the metrics' names as titles."""
    classes = {row[0] for rows in tables.values() for row in rows[1:]}
    whole = {name: value for name, value in metrics.items()  # mmdet has those of classes, too, once for boxes and masks
             if name.rpartition('/')[2].removesuffix('_precision') not in classes and value != NO_OBJECTS}
    print_table(['metric', 'value'], [[name, f'{value:.4g}'] for name, value in whole.items()])
    for title, (head, *rows) in tables.items():
        found = [row for row in rows if set(row[1:]) != {'nan'}]  # classes that have objects in the data
        (_, *names), *columns = zip(head, *found)
        kept = [column for column in columns if set(column[1:]) != {'nan'}]  # sizes of objects that a class has
        header, *lines = zip([f'{title} by class'.strip(), *names], *kept)
        print_table(header, lines)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(*(Column(name, justify='right' if i else 'left') for i, name in enumerate(columns)), box=None,
                  pad_edge=False, header_style='bold')
    for row in rows:
        table.add_row(*map(escape, row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPED).print(table)
    print()


@contextmanager
def screen(split: str, verbose: bool) -> Iterator[Screen | None]:
    """Shows a bar, if the standard output is a terminal, and keeps what libraries print out of it; not if ``verbose``.

    Args:
        split (str): 'train' or 'test'.
        verbose (bool): Whether to show every line of the log file, and what libraries print, instead.
    """
    if verbose:
        yield None
        return
    with terminal() as console:
        bar = RunBar(split, console) if console is not None else None
        output: Any = sys.stdout if console is None else FileProxy(console, sys.stdout)
        shown = Screen(Output(output), bar)
        try:
            with bar or nullcontext(), redirect_stdout(shown.output):  # pyright: ignore
                yield shown
        finally:
            shown.detach()


@contextmanager
def terminal() -> Iterator[Console | None]:
    """Opens the terminal of the standard output; None if it is none, or in other processes than the first.

    The bar's thread has a file of its own, so that a worker that is started meanwhile finds no locked one.
    """
    if not is_first_process() or not sys.stdout.isatty():
        yield None
        return
    with open(os.dup(sys.stdout.fileno()), 'w', encoding=sys.stdout.encoding) as file:
        console = Console(file=file)
        yield console if console.is_interactive else None
