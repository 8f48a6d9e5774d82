"""Says how long a training takes, from a few of its steps and of its validation's batches."""
import statistics
import time
from itertools import chain, islice, repeat
from typing import Any

import torch
from mmengine.device import get_device

STEPS = 5  # the first of them is slower, and does not count
BATCHES = 4  # of a validation, the first of which does not count


def describe_pace(steps: int, step: float, validations: int, validation: float) -> str:
    """Returns a line with the time that steps and validations take, of which each takes some seconds."""
    total = describe_time(steps * step + validations * validation)
    return f'time        about {total}: {steps} steps of {step:.2g} s, validations: {validations} of {validation:.2g} s'


def describe_time(seconds: float) -> str:
    """Returns a time in its two largest units, such as '3 min 40 s'."""
    seconds = round(seconds)
    for unit, size, smaller, part in ('days', 86400, 'h', 3600), ('h', 3600, 'min', 60), ('min', 60, 's', 1):
        if seconds >= size:
            return f'{seconds // size} {unit} {seconds % size // part} {smaller}'
    return f'{seconds} s'


def count_validations(loop: Any, epoch: int = 0) -> int:
    """Returns the number of validations of a training after an epoch."""
    return sum(number >= loop.val_begin and (number % loop.val_interval == 0 or number == loop.max_epochs)
               for number in range(epoch + 1, loop.max_epochs + 1))


def time_validation(runner: Any) -> float:
    """Returns the seconds of a validation, of which a few batches are run."""
    batches, times, end = runner.val_loop.dataloader, [], time.perf_counter()
    runner.call_hook('before_val')
    runner.model.eval()
    with torch.no_grad():
        for batch in islice(batches, BATCHES):
            runner.model.val_step(batch)
            times.append(time.perf_counter() - end)
            end += times[-1]
    runner.call_hook('after_val')
    return statistics.median(times[1:] or times) * len(batches)


def rehearse_pace(runner: Any) -> str:
    """Returns the line of :func:`describe_pace` for a training that does not start, after some of its steps.

    The model is changed.
    """
    loop, times = runner.train_loop, []
    model = runner.model.to(get_device()).train()
    batches = islice(chain.from_iterable(repeat(loop.dataloader)), STEPS)
    for _ in range(STEPS):
        begin = time.perf_counter()
        model.train_step(next(batches), runner.optim_wrapper)
        times.append(time.perf_counter() - begin)
    return describe_pace(loop.max_iters, statistics.median(times[1:]), count_validations(loop), time_validation(runner))
