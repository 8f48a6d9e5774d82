"""Times functions by turns, on a GPU also as the replay of a CUDA graph."""
import gc
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mmvit_backbones.errors import first_line

from ..utils.distributed import warn

CALLS_ON_GPUS = 4  # in a row, so that the CPU launches ahead as in a training


def take_turns(steps: Sequence[Callable[[], object]], repeats: int, calls: int = 1) -> list[list[float]]:
    """Returns the seconds of each step.

    The steps run in turn, so that other load on the machine affects all equally. Their first runs are not counted.

    Args:
        steps (Sequence[Callable]): Functions without arguments.
        repeats (int): Number of measurements of each step.
        calls (int): Calls in a row, of which a measurement is the mean. Defaults to 1.
    """
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


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Returns the median ratio of measurements that were made in turn."""
    return statistics.median(a / b for a, b in zip(times, others))


def graph_seconds(step: Callable[[], object], repeats: int) -> float | None:
    """Returns the median seconds of a step as a replayed CUDA graph, i.e. without the CPU; None if it has no graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # libraries allocate their workspaces before the capture
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.stream(current), torch.cuda.graph(graph):  # returns to this stream also if the capture fails
            step()
        times, = take_turns([graph.replay], repeats, calls=CALLS_ON_GPUS)
    except RuntimeError as error:  # e.g. a step that waits for the GPU, or a lack of memory
        warn(f'no CUDA graph: {first_line(error)}')
        return None
    finally:
        gc.collect()
    return statistics.median(times)


def name_of(device: torch.device) -> str:
    """Returns the name of a GPU or of the CPU."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    info = Path('/proc/cpuinfo')
    lines = info.read_text(encoding='utf-8').splitlines() if info.exists() else []
    return next((line.partition(': ')[2] for line in lines if line.startswith('model name')), platform.processor())
