"""Says how long a training takes, from a few of its steps and of its validation's batches."""
import math
import statistics
import time
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any

import torch
from mmengine.device import get_device

STEPS = 5  # the first of them is slower, and does not count
BATCHES = 4  # of a validation, as well


def describe_pace(loop: Any, step: float, validation: float, done: int = 0) -> str:
    """Returns a line with the time of the rest of a training, of which a step and a validation take some seconds."""
    steps, validations = loop.max_iters - done, count_validations(loop)
    total = describe_time(steps * step + validations * validation)
    return f'time        about {total}: {steps} steps of {step:.2g} s, validations: {validations} of {validation:.2g} s'


def describe_time(seconds: float) -> str:
    """Returns a time in its two largest units, such as '3 min 40 s'."""
    for unit, size, smaller, part in ('days', 86400, 'h', 3600), ('h', 3600, 'min', 60), ('min', 60, 's', 1):
        if seconds >= size:
            return f'{seconds // size:.0f} {unit} {seconds % size // part:.0f} {smaller}'
    return f'{seconds:.0f} s'


def count_validations(loop: Any) -> int:
    """Returns the number of validations that follow in a training."""
    return math.ceil(loop.max_epochs / loop.val_interval) - loop.epoch // loop.val_interval


def time_validation(runner: Any) -> float:
    """Returns the seconds of a validation, of which a few batches are run."""
    batches = runner.val_loop.dataloader
    runner.call_hook('before_val')
    runner.model.eval()
    with torch.no_grad():
        seconds = statistics.median(time_each(map(runner.model.val_step, islice(batches, BATCHES))))
    runner.call_hook('after_val')
    return seconds * len(batches)


def rehearse_pace(runner: Any) -> str:
    """Returns the line of :func:`describe_pace` for a training that does not start, after some of its steps."""
    loop, model = runner.train_loop, runner.model.to(get_device()).train()
    batches = islice(chain.from_iterable(repeat(loop.dataloader)), STEPS)
    step = statistics.median(time_each(model.train_step(batch, runner.optim_wrapper) for batch in batches))
    return describe_pace(loop, step, time_validation(runner))


def time_each(done: Iterator) -> list[float]:
    """Returns the seconds that each value of an iterator takes but the first, if there are several."""
    times, begin = [], time.perf_counter()
    for _ in done:
        times.append(time.perf_counter() - begin)
        begin += times[-1]
    return times[1:] or times
