"""What a run shows in the terminal: a bar, validations and warnings; its log file has every line."""
import io
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout
from typing import Any, TextIO

from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop
from rich.console import Console, RenderableType
from rich.file_proxy import FileProxy
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from ..utils.distributed import is_first_process

LIBRARIES = 'mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg', 'pycocotools'
WIDTH = 90  # of the line of a validation
PIPED = 200  # columns of tables that are not printed to a terminal

# The first record that is shown, of training, validation, testing or resuming.
FIRST = re.compile(r'(Epoch|Iter)\(|resumed epoch')
STEP = re.compile(r'(Epoch|Iter)\((train|val|test)\)[^a-zA-Z]*(lr|base_lr|eta): ')
EVALUATION = re.compile(r'(?:Epoch|Iter)\((val|test)\) (?:\[(\d+)\])?\[ *\d+/\d+\]\s+(?!\s|eta: )(.*)', re.DOTALL)
NOISE = re.compile(
    r'\n|Checkpoints will be saved|Converting ground truth|Evaluating \w+\.\.\.|Exp name: |Loads? checkpoint|'
    r'Saving checkpoint|The (previous )?best checkpoint|The prefix is not set|\w+_mAP_copypaste|accuracy by class|'
    r'backends of operators|per class results|results are saved|.*(is skipped since its requires_grad|will be '
    r'deprecated in future|Failed to search registry)', re.DOTALL)
TABLE = re.compile(r'\s*\+-')


class ConsoleFilter(logging.Filter):
    """Drops what a run logs about itself: environment, config, hooks, saved files and tables.

    Steps pass unless a bar shows them; warnings and errors pass, but not those that users cannot act on.

    Args:
        has_bar (bool): Whether a bar shows the steps.
    """

    def __init__(self, has_bar: bool) -> None:
        super().__init__()
        self.has_bar, self.is_open = has_bar, False

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        self.is_open = self.is_open or bool(FIRST.match(text))
        if NOISE.match(text) or getattr(record, 'is_print', False) or EVALUATION.match(text) and '(test)' in text:
            return False
        return record.levelno >= logging.WARNING or self.is_open and not (self.has_bar and STEP.match(text))


class ConsoleFormatter(logging.Formatter):
    """Formats the metrics of a validation as one short line, and other records as their text.

    Args:
        runner (Any): Runner of MMEngine, whose last loss is in the line.
        has_time (bool): Whether lines begin with the time.
    """

    def __init__(self, runner: Any, has_time: bool) -> None:
        super().__init__('%(asctime)s  %(message)s' if has_time else '%(message)s', '%m/%d %H:%M:%S')
        self.runner = runner

    def formatMessage(self, record: logging.LogRecord) -> str:
        evaluation = EVALUATION.match(record.message)
        if evaluation:
            epoch = evaluation[2]
            place = f'epoch {epoch}' if epoch else f'step {self.runner.iter}'
            record.message = ', '.join([place, *loss_of(self.runner), *short_metrics(evaluation[3])])
        elif record.levelno >= logging.WARNING:
            record.message = f'{record.levelname.lower()}: {record.message}'
        return super().formatMessage(record)


def loss_of(runner: Any) -> list[str]:
    """Returns the last loss of a training with its name, if there is one."""
    loss = runner.message_hub.log_scalars.get('train/loss')
    return [f'loss {loss.current():.4g}'] if loss is not None else []


def short_metrics(text: str) -> list[str]:
    """Returns as many metrics of a log line as fit into a line; short names, such as mIoU, are those of summaries."""
    pairs = [part.rpartition(': ')[::2] for part in re.split('  +', text.strip())]
    pairs = sorted(((name, value) for name, value in pairs if name not in ('time', 'data_time')),
                   key=lambda pair: len(pair[0]))
    parts = [f'{name} {shortened(value)}' for name, value in pairs]
    return [part for i, part in enumerate(parts) if i == 0 or len(', '.join(parts[:i + 1])) < WIDTH - 20]


def shortened(value: str) -> str:
    try:
        return f'{float(value):.4g}'
    except ValueError:
        return value


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
            self.logger.info(text.rstrip(), extra=dict(is_print=True))
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
        tables (Tables): The tables of classes that the run logs.
    """

    def __init__(self, output: Output, bar: RunBar | None) -> None:
        self.output, self.bar, self.tables = output, bar, Tables()
        self.restore = ExitStack()

    def attach(self, logger: MMLogger, runner: Any = None) -> None:
        """Filters the console's handler of a logger until :meth:`detach`, and lets the bar read the runner."""
        self.output.logger = logger
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                kept = ConsoleFilter(self.bar is not None)
                self.restore.callback(handler.removeFilter, kept)
                self.restore.callback(handler.setFormatter, handler.formatter)
                self.restore.callback(handler.setStream, sys.__stdout__ if self.bar else self.output.file)
                handler.addFilter(kept)
                handler.setFormatter(ConsoleFormatter(runner, has_time=self.bar is None))
                handler.setStream(self.output)
        logger.addHandler(self.tables)
        self.restore.callback(logger.removeHandler, self.tables)
        if self.bar is not None:
            self.bar.runner = runner

    def detach(self) -> None:
        self.restore.close()


class Tables(logging.Handler):
    """Collects the tables of classes that metrics log.

    Attributes:
        found (dict): Rows of each table by its title; the first row has the names of the columns.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.found: dict[str, list[list[str]]] = {}
        self.title = ''

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        named = re.match(r'Evaluating (\w+)\.\.\.', text)
        if named:
            self.title = named[1]
        elif TABLE.match(text):
            self.found[self.title] = [[cell.strip() for cell in line.strip('|').split('|')]
                                      for line in text.splitlines() if line.startswith('|')]
        elif text.startswith('accuracy by class:'):  # of PerClassAccuracy
            self.found['accuracy'] = [['class', '%', 'correct']] + [
                [name, value, f'{hits} of {count}'] for value, _, hits, _, count, name in (
                    line.split(maxsplit=5) for line in text.splitlines()[1:])]


def show_metrics(metrics: Mapping[str, float], tables: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Prints a table of metrics, and those of the classes with the metrics' names as titles."""
    classes = {row[0] for rows in tables.values() for row in rows[1:]}
    whole = {name: value for name, value in metrics.items()  # mmdet has those of classes, too, once for boxes and masks
             if name.rpartition('/')[2].removesuffix('_precision') not in classes}
    print_table(['metric', 'value'], [[name, f'{value:.4g}'] for name, value in whole.items()])
    for title, rows in tables.items():
        print_table([f'{title} by class'.strip(), *rows[0][1:]], rows[1:])


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


@contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Collects what is printed; if an exception is raised, prints it."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            yield text
    except BaseException:
        print(text.getvalue(), file=sys.stderr, end='')
        raise
