"""Times functions by turns."""
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

CALLS_ON_GPUS = 4  # in a row, so that the CPU launches ahead as in a training


def take_turns(steps: Sequence[Callable[[], object]], repeats: int, device: torch.device) -> list[list[float]]:
    """Returns the seconds of each step, ``repeats`` times.

    The steps run in turn, so that other load on the machine affects all equally. Their first runs are not counted. On a
    GPU, each time is the mean of several calls in a row.
    """
    calls = CALLS_ON_GPUS if device.type == 'cuda' else 1
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats + 1):
        for step, times in zip(steps, seconds):
            start = now()
            for _ in range(calls):
                step()
            times.append((now() - start) / calls)
    return [times[1:] for times in seconds]


def now() -> float:
    """Returns the seconds of a clock, after the GPU has finished."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def name_of(device: torch.device) -> str:
    """Returns the name of a GPU or of the CPU."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    info = Path('/proc/cpuinfo')
    lines = info.read_text(encoding='utf-8').splitlines() if info.exists() else []
    return next((line.partition(': ')[2] for line in lines if line.startswith('model name')), platform.processor())
