"""Shows of a run what a person needs: of a training at most some forty lines. The log file has every line."""
import io
import logging
import math
import re
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from functools import partial
from itertools import chain, islice, pairwise, repeat
from typing import Any, TextIO

import torch
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmvit_backbones.zoo.reading import info_of, read_file, recorded_best

from ..frameworks import task_of
from ..utils.shell import short_path

TABLE = re.compile(r'\n?[|+]|(per|accuracy by) class')  # figures by class
SHOWN = re.compile(r'Epoch\(test|weights from |resumed|the monitored metric')
# Of what OpenMMLab itself does; what does not match of weights is said by a line of ours.
USELESS = re.compile(r'will be deprecated in future|The prefix is not set|Loads checkpoint by|.*do not match exactly')
TIME = 'time        about {} (h:min:s): {}'
STEPS = 5  # from which the first estimate is; the first of them is slower, and does not count
GIB = 2**30
BATCHES = 4  # of a validation, as well
LINES, FEWEST = 30, 20  # of steps, and the fewest steps from line to line
FEW_IMAGES, FEW_OBJECTS = 20, 50  # of a validation, below which the best value is told beside the last one


@contextmanager
def shown_briefly(runner: Any, is_training: bool = False) -> Iterator[None]:
    """Hides the other lines of the log of a run, and what others print meanwhile, as pycocotools.

    A training has a :class:`.ProgressHook` in their place, which shows the tables of its best validation.
    """
    progress = ProgressHook(sys.stdout if runner.rank == 0 else io.StringIO())
    if is_training:
        runner.register_hook(progress)
    for handler in runner.logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setStream(sys.stdout)
            handler.addFilter(partial(concerns_person, kept=progress.tables if is_training else None))
    with redirect_stdout(Printed(runner.logger)):
        yield


class Printed(io.TextIOBase):
    """Logs what MMEngine prints, as warnings without a logger; what others print is of no use here.

    Args:
        logger (logging.Logger): Logger of the run.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def write(self, text: str) -> int:
        if text.strip() and sys._getframe(1).f_globals.get('__name__', '').startswith('mmengine.'):
            self.logger.warning(text.strip())
        return len(text)


def concerns_person(record: logging.LogRecord, kept: list[str] | None) -> bool:
    """Returns whether a record is a warning, or says how the run goes on; tables may be kept for later."""
    text = record.getMessage()
    if record.levelno >= logging.WARNING:
        return not USELESS.search(text)
    if kept is not None and TABLE.match(text):
        kept.append(text.strip('\n'))
        return False
    return bool(SHOWN.match(text) or TABLE.match(text))


class ProgressHook(Hook):
    """Prints how long a training takes, its steps and validations, and at the end the best one by each metric.

    Args:
        out (TextIO): Where to print.

    Attributes:
        tables (list[str]): Figures by class that are logged, up to the end of their validation.
    """

    priority = 'LOWEST'

    def __init__(self, out: TextIO) -> None:
        self.print, self.tables = partial(print, sep='\n', file=out, flush=True), []
        self.unit = self.count = 'epoch'  # of the loop, and its name in MMEngine
        self.best, self.saver = {}, None  # best checkpoints by their key in the hub: path, when, tables; who saves them
        self.steps, self.end, self.validation = 0, 0., 0.  # number; when the last one ended; seconds of a validation

    def before_run(self, runner: Runner) -> None:
        self.saver = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.save_best), None)
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            self.unit, self.count = 'step', 'iter'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for key, path in recorded_best(info_of(checkpoint)).items() if runner._resume else ():
            self.best[key] = path, f'{self.unit} {read_file(path, mmap=True)["meta"][self.count]}', []

    def before_train(self, runner: Runner) -> None:
        self.validation = time_validation(runner)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        loop: Any = runner.train_loop
        self.steps, self.end, done = self.steps + 1, time.perf_counter(), loop.iter + 1
        times = runner.message_hub.get_scalar('train/time').data[0][-self.steps:]  # not those before --resume
        times = times[1:].tolist() or times.tolist()
        if self.steps == STEPS:
            self.print(TIME.format(*time_left(loop, done, statistics.median(times), self.validation)))
        if done % steps_per_line(loop) == 0 or done == loop.max_iters:
            left, _ = time_left(loop, done, statistics.fmean(times), self.validation)
            loss = runner.message_hub.get_scalar('train/loss').mean(runner.log_processor.window_size)
            self.print(f'epoch {loop.epoch + 1} of {loop.max_epochs}  step {done} of {loop.max_iters}  '
                       f'loss {loss:.4f}  rate {rates_of(runner)}  {left} left')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.steps:  # a resumed training may validate before its first step
            self.validation = time.perf_counter() - self.end  # with its checkpoints
        moment, best = f'{self.unit} {getattr(runner, self.count)}', recorded_best(runner.message_hub.runtime_info)
        new = {key: (path, moment, [*self.tables]) for key, path in best.items()
               if key not in self.best or path != self.best[key][0]}
        self.best.update(new)
        self.tables.clear()
        task = task_of(runner.cfg)
        keys = {task.metric: '', **self.keys_of_best(runner)}
        if values := [f'{task.show(name, metrics[name])}{", the best so far" * (key in new)}'
                      for name, key in keys.items() if metrics and name in metrics]:
            self.print(f'validation  {moment}  {"  ".join(values)}')

    def after_train(self, runner: Runner) -> None:
        task, loop = task_of(runner.cfg), runner.val_loop
        for name, key in self.keys_of_best(runner).items():
            if key in self.best and loop:
                few = count_if_few(loop.dataloader.dataset)
                score, (path, moment, tables) = runner.message_hub.get_info(f'best_score{key[9:]}'), self.best[key]
                last = float(runner.message_hub.get_scalar(f'val/{name}').current())
                about_last = [f'last        {task.show(name, last)}: with {few}, the difference may be chance']
                self.print(f'best        {task.show(name, score)} after {moment}: {short_path(path)}',
                           *(about_last if few and last != score else []), *tables)

    def keys_of_best(self, runner: Runner) -> dict[str, str]:
        """Returns the metrics that select the best checkpoints, and the keys of these in MMEngine's message hub.

        'auto' is the first metric of a validation, which also one before ``--resume`` may have been.
        """
        names = list(self.saver.key_indicators) if self.saver else []
        if names == ['auto']:
            names = [key.removeprefix('val/') for key in runner.message_hub.log_scalars
                     if key.startswith('val/') and not key.endswith('time')][:1]
        return {name: f'best_ckpt_{name}' if len(names) > 1 else 'best_ckpt' for name in names}


def count_if_few(dataset: Any) -> str:
    """Returns how many images of a validation there are, or objects, if figures of so few differ by chance; else ''."""
    if len(dataset) < FEW_IMAGES:
        return f'{len(dataset)} validation images'
    objects = 0
    for number in range(len(dataset)):
        info = dataset.get_data_info(number)
        objects += len(info.get('instances', range(FEW_OBJECTS)))  # of other tasks, images count alone
        if objects >= FEW_OBJECTS:
            return ''
    return f'{objects} objects in the validation images'


def steps_per_line(loop: Any) -> int:
    """Returns after how many steps there is a line: whole epochs, or in long ones a part."""
    length = len(loop.dataloader)
    steps = max(min(FEWEST, length), math.ceil(loop.max_iters / LINES))
    return steps if 2 * steps < length else math.ceil(steps / length) * length


def rates_of(runner: Runner) -> str:
    """Returns the rate of new layers, and if some are pretrained that of these before its decay."""
    wrapper: Any = runner.optim_wrapper
    rates = {group['lr'] for group in wrapper.param_groups}
    mult = (runner.cfg.optim_wrapper.get('paramwise_cfg') or {}).get('pretrained_mult', 1)
    return f'{max(rates):.2g}' + (f', {mult * max(rates):.2g}' if mult != 1 and len(rates) > 1 else '')


# ---- time


def rehearse_pace(runner: Any) -> str:
    """Returns how long a training takes that does not start, after some of its steps, and the memory of a GPU."""
    loop, model = runner.train_loop, runner.model.to(get_device()).train()
    batches = islice(chain.from_iterable(repeat(loop.dataloader)), STEPS)
    step = median_time(model.train_step(batch, runner.optim_wrapper) for batch in batches)
    told = TIME.format(*time_left(loop, 0, step, time_validation(runner)))
    if get_device() == 'cuda':  # larger images, and more objects, come later
        used, (_, total) = torch.cuda.max_memory_reserved(), torch.cuda.mem_get_info()
        told += f'\nmemory      at least {used / GIB:.1f} of {total / GIB:.1f} GiB'
    return told


def time_validation(runner: Any) -> float:
    """Returns the seconds of a validation, of which a few batches are run; the training's random numbers stay.

    0 for a training without validation.
    """
    if runner.val_loop is None:
        return 0.
    batches = runner.val_loop.dataloader
    runner.call_hook('before_val')
    runner.model.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        seconds = median_time(map(runner.model.val_step, islice(batches, BATCHES)))
    runner.call_hook('after_val')
    return seconds * len(batches)


def median_time(done: Iterator) -> float:
    """Returns the median of the seconds that each value of an iterator takes but the first, if there are several."""
    ends = [time.perf_counter(), *(time.perf_counter() for _ in done)]
    times = [end - begin for begin, end in pairwise(ends)]
    return statistics.median(times[1:] or times)


def time_left(loop: Any, done: int, step: float, validation: float) -> tuple[timedelta, str]:
    """Returns how long a training goes on after some steps, by the seconds of a step and of a validation; and why."""
    steps = loop.max_iters - done
    now, last = (loop.iter, loop.max_iters) if isinstance(loop, IterBasedTrainLoop) else (loop.epoch, loop.max_epochs)
    validations = math.ceil(last / loop.val_interval) - now // loop.val_interval
    return (timedelta(seconds=round(steps * step + validations * validation)),
            f'{steps} steps of {seconds(step)}'
            + (f', {validations} validations of {seconds(validation)}' if validation else ''))


def seconds(number: float) -> str:
    """Returns seconds with two significant digits, but without an exponent: 170 s."""
    return f'{float(f"{number:.2g}"):g} s'
