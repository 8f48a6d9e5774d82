"""Measures networks and whole models: time and memory relative to a baseline, throughput, and several runtimes."""
import csv
import ctypes
import gc
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import psutil
import torch
from torch.utils import benchmark as timers

from mmvit_backbones.errors import MMViTError, UsageError, first_line
from mmvit_backbones.utils.files import replaced_when_complete
from mmvit_backbones.utils.text import markdown_table
from mmvit_backbones.zoo.variants import VARIANTS, find_names

from ..inference.runtimes import find_device
from ..utils.config import path_hint
from ..utils.distributed import warn
from .counters import SavedStorages
from .networks import build, build_other, default_size

if TYPE_CHECKING:
    from .subjects import TimedModel, TimedNetwork

SWIN_TINY = 'timm:swin_tiny_patch4_window7_224'
PAUSE = 0.05  # seconds before a run; threads of ONNX Runtime and OpenMP spin after one, and would slow down the next


# ---- measurements


@contextmanager
def measuring(threads: int) -> Iterator[None]:
    """Sets the number of CPU threads, and reports measurements that fail, e.g. for too small images, as UsageError."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(False), torch.enable_grad():  # training is measured wherever this is called
            yield
    except MMViTError:
        raise
    except (RuntimeError, ValueError) as error:  # e.g. too small images for batch norms, or too little memory
        raise UsageError(f'the networks cannot be measured with these options: {first_line(error)}') from error
    finally:
        torch.set_num_threads(before)


def take_turns(steps: Sequence[Callable[[], object]], repeats: int, pause: float = 0.) -> list[list[float]]:
    """Returns the seconds of each step.

    The steps run in turn, so that other load on the machine affects all equally. Their first runs are not counted.

    Args:
        steps (Sequence[Callable]): Functions without arguments.
        repeats (int): Number of measurements of each step.
        pause (float): Seconds before each run. Defaults to 0.
    """
    seconds: list[list[float]] = [[] for _ in steps]
    for _ in range(repeats + 1):
        for step, times in zip(steps, seconds):
            time.sleep(pause)
            start = timers.timer()  # waits for the GPU
            step()
            times.append(timers.timer() - start)
    return [times[1:] for times in seconds]


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """Returns the median ratio of measurements that were made in turn."""
    return statistics.median(a / b for a, b in zip(times, others))


def forward(model: torch.nn.Module, images: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad():
        model(images)


def train_step(model: torch.nn.Module, images: torch.Tensor) -> None:
    model.train()
    model.zero_grad(set_to_none=True)
    loss(model(images)).backward()


def loss(outputs: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    return torch.as_tensor(sum(out.square().mean() for out in outputs))


def saved_bytes(model: torch.nn.Module, images: torch.Tensor) -> int:
    """Returns the bytes per image that autograd saves for the backward pass."""
    model.train()
    with SavedStorages(model) as saved:
        outputs = model(images)  # kept alive because reused addresses would be counted once
        total = saved.num_bytes
    del outputs
    return total // len(images)


# ---- relative to a baseline


class Benchmark(NamedTuple):
    """Figures of networks relative to a baseline; smaller is better. As text, it is JSON.

    Attributes:
        about (str): The conditions.
        torch (str): Version of PyTorch.
        saved_bytes_per_image_of_baseline (int): Bytes that autograd saves for the backward pass of the baseline.
        models (dict[str, dict[str, float]]): By network: ``forward``, the relative time of a forward pass in evaluation
            mode without gradients; ``train_step``, that of a forward and a backward pass in training mode;
            ``saved_bytes_per_image``, without parameters and buffers; and ``saved_ratio``, relative to the baseline.
    """

    about: str
    torch: str
    saved_bytes_per_image_of_baseline: int
    models: dict[str, dict[str, float]]

    def __str__(self) -> str:
        return json.dumps(self._asdict(), indent=1)


def benchmark(networks: Sequence[str], baseline: str = SWIN_TINY, override: dict[str, Any] | None = None,
              dense: bool = False, size: tuple[int, int] | None = None, batch_size: int | None = None,
              repeats: int = 7, threads: int = 2, device: str = 'cpu', memory_only: bool = False) -> Benchmark:
    """Measures the time and memory of networks with random weights relative to a baseline.

    A network and the baseline are timed alternately, and each relative time is the median of ``repeats`` ratios.

    Args:
        networks (Sequence[str]): Names or shell patterns.
        baseline (str): Name of a network, or ``timm:NAME`` or ``mmpretrain:NAME``. Defaults to timm's Swin-T.
        override (dict[str, Any] | None): Arguments of the networks' backbones. Defaults to None.
        dense (bool): Whether to measure backbones that return all feature maps, without heads. Defaults to False.
        size (tuple[int, int] | None): Height and width of the images in pixels. Defaults to None: 224 and 224, or 448
            and 672 if ``dense``.
        batch_size (int | None): Images per batch. Defaults to None, which means 4, or 1 if ``dense``.
        repeats (int): Number of measurements. Defaults to 7.
        threads (int): Number of CPU threads. Defaults to 2.
        device (str): Device of the measurements, e.g. ``'cuda'``. Defaults to ``'cpu'``.
        memory_only (bool): Whether to report only the saved bytes. Defaults to False.

    Raises:
        UsageError: If a network cannot be built or measured with these arguments.
    """
    names, height_width = find_names(networks), size or default_size(dense)
    with measuring(threads):
        images = torch.randn(batch_size or (1 if dense else 4), 3, *height_width, device=find_device(device))
        other = build_other(baseline, 'baseline', dense, height_width).to(images.device)
        other_saved = saved_bytes(other, images)
        models = {}
        for name in names:
            model = build(name, dense, override).to(images.device)
            saved = saved_bytes(model, images)
            figures = dict(saved_bytes_per_image=saved, saved_ratio=round(saved / other_saved, 3))
            if not memory_only:
                steps = {step.__name__: [partial(step, network, images) for network in (model, other)]
                         for step in (forward, train_step)}
                figures = dict({step: round(ratio(*take_turns(pair, repeats)), 3) for step, pair in steps.items()},
                               **figures)
            models[name] = figures
            print(name, figures, file=sys.stderr, flush=True)
    about = (f'relative to {baseline}, random weights, {height_width[0]} x {height_width[1]} (height x width), '
             f'batch {len(images)}, {device}, {threads} CPU threads, median of {repeats} ratios')
    return Benchmark(about, torch.__version__, other_saved, models)


# ---- throughput


def measure_throughput(networks: Sequence[str], throughput: Sequence[int], override: dict[str, Any] | None = None,
                       dense: bool = False, batch_size: int = 16, repeats: int = 7, threads: int = 2,
                       device: str = 'cpu') -> dict[str, dict[int, float]]:
    """Returns the median images per second in evaluation mode, by network and side of square images.

    Args:
        throughput (Sequence[int]): Sides of the square images in pixels.
        networks, override, dense, batch_size, repeats, threads, device: As in :func:`benchmark`. ``batch_size``
            defaults to 16.

    Raises:
        UsageError: As in :func:`benchmark`.
    """
    names, result = find_names(networks), {}
    with measuring(threads):
        for name in names:
            model = build(name, dense, override).to(find_device(device))
            result[name] = {}
            for side in throughput:
                images = torch.randn(batch_size, 3, side, side, device=find_device(device))
                times, = take_turns([partial(forward, model, images)], repeats)
                result[name][side] = round(batch_size / statistics.median(times), 2)
            print(name, result[name], file=sys.stderr, flush=True)
    return result


# ---- runtimes


COLUMNS = dict(model='model', runtime='runtime', file_mib='file, MiB', metric='metric', value='value',
               deviation='deviation', ms='ms', images_per_second='images/s', speedup='times as fast',
               memory_mib='memory, MiB')
FORMATS = dict(file_mib='.1f', value='.4g', deviation='.1e', ms='.1f', images_per_second='.2f', speedup='.2f',
               memory_mib='.0f')


class RuntimeTable(NamedTuple):
    """Figures of networks and models in several runtimes. As text, it is a table in Markdown with its conditions.

    Attributes:
        about (str): The conditions.
        rows (list[dict]): One row per model and runtime: ``model``; ``runtime``; ``file_mib``; the name ``metric`` and
            ``value`` of a checkpoint's metric; ``deviation`` from eager PyTorch; ``ms`` for one image;
            ``images_per_second`` for all images in one call; ``speedup``, the median ratio of the first runtime's time
            for one image to this one's; ``memory_mib``, by which the process grew when the runtime loaded the model and
            ran it; or ``error`` if the runtime fails.
    """

    about: str
    rows: list[dict]

    def __str__(self) -> str:
        columns = [name for name in COLUMNS if any(row.get(name) is not None for row in self.rows)]

        def cell(row: dict, name: str) -> str:
            return format(row[name], FORMATS.get(name, '')) if row.get(name) is not None else ''

        figures = markdown_table((COLUMNS[name] for name in columns),
                                 ([cell(row, name) for name in columns] for row in self.rows))
        errors = [f'{row["model"]} in {row["runtime"]} failed: {row["error"]}' for row in self.rows if 'error' in row]
        return '\n'.join([self.about, '', figures, *errors])

    def save(self, path: str | Path) -> None:
        """Writes the rows to a CSV file; raises UsageError if the disk is full."""
        with replaced_when_complete(path) as part, open(part, 'w', encoding='utf-8', newline='') as file:
            writer = csv.DictWriter(file, [*COLUMNS, 'error'])
            writer.writeheader()
            writer.writerows(self.rows)


def compare_runtimes(networks: Sequence[str], runtimes: Sequence[str], config: str | None = None,
                     images: Sequence[str | Path] = (), dense: bool = False, size: tuple[int, int] | None = None,
                     batch_size: int = 4, repeats: int = 7, threads: int = 2) -> RuntimeTable:
    """Compares the speed, memory and accuracy of networks or whole models in several runtimes on the CPU.

    Args:
        networks (Sequence[str]): Names, shell patterns, ``timm:NAME``, ``mmpretrain:NAME``, and checkpoints (.pth) or
            work dirs of trainings. Checkpoints are timed from images to results.
        runtimes (Sequence[str]): Runtimes to compare on the CPU: ``eager``, ``compile``, ``onnxruntime``, ``openvino``,
            ``openvino-bf16``, ``int8``.
        config (str | None): Config of the checkpoints. Defaults to None: the one that the training saved.
        images (Sequence[str | Path]): Image files or folders to time checkpoints on, without a metric. Defaults to ():
            the config's test set.
        dense, size, batch_size, repeats, threads: As in :func:`benchmark`. ``size`` is for networks; checkpoints resize
            images as in their test.

    Raises:
        UsageError: If a network cannot be built, a checkpoint or its data cannot be used, or an argument does not
            concern any of ``networks``. An error in a runtime is a row of the table.
    """
    from .subjects import RUNTIMES, is_checkpoint, timed_model, timed_network  # exports need more than other functions
    checkpoints = [name for name in networks if is_checkpoint(name)]
    for name in networks:
        if name in VARIANTS and (hint := path_hint(name)):
            warn(f'{name} is the network{hint}')
    if unknown := set(runtimes) - RUNTIMES.keys():
        raise UsageError(f'runtimes must be some of {", ".join(RUNTIMES)}, got {", ".join(sorted(unknown))}')
    for name, given in dict(images=images, config=config).items():
        if given and not checkpoints:
            raise UsageError(f'{name} requires a checkpoint (.pth) or a work dir, got only {", ".join(networks)}')
    if size and len(checkpoints) == len(networks):
        raise UsageError('size requires a network; checkpoints resize images as in their test')
    found = ([name] if name in checkpoints or ':' in name else find_names([name]) for name in networks)
    names, rows = dict.fromkeys(chain.from_iterable(found)), []
    with measuring(threads):
        for name in names:
            subject = (timed_model(name, config, images, batch_size, 'int8' in runtimes) if name in checkpoints else
                       timed_network(name, dense, size, batch_size))
            rows += measure_subject(subject, runtimes, repeats)
    versions = ', '.join(f'{name} {version(name)}' for name in ('torch', 'onnxruntime', 'openvino') if find_spec(name))
    return RuntimeTable(f'{processor()}, {threads} threads, {versions}; median of {repeats}', rows)


def measure_subject(subject: 'TimedNetwork | TimedModel', runtimes: Sequence[str], repeats: int) -> list[dict]:
    """Returns the rows of a network or a model, measured alternately in several runtimes (:class:`RuntimeTable`)."""
    from .subjects import RUNTIMES, provide_file
    chosen, rows, functions = sorted(runtimes, key=list(RUNTIMES).index), {}, {}
    expected = subject.load('eager', Path())(subject.images)
    with tempfile.TemporaryDirectory() as folder:
        for runtime in chosen:
            rows[runtime] = dict(model=subject.name, runtime=runtime)
            try:
                path = provide_file(subject, runtime, Path(folder))
                before = resident()
                function = subject.load(runtime, path)
                function(subject.images[:1])
                outputs = function(subject.images)
                rows[runtime].update(
                    memory_mib=(resident() - before) / 2**20, deviation=subject.deviation(outputs, expected),
                    file_mib=path.stat().st_size / 2**20 if path.is_file() else None, **subject.metric(function))
                functions[runtime] = function
            except Exception as error:  # a compiler can raise any exception
                while error.__cause__:
                    error = error.__cause__
                rows[runtime]['error'] = first_line(cast(Exception, error))[:200]
        for runtime, figures in time_functions(functions, subject.images, repeats).items():
            rows[runtime].update(figures)
    return list(rows.values())


def time_functions(functions: dict[str, Callable], images: Any, repeats: int) -> dict[str, dict[str, float]]:
    """Returns the figures of each function for one image and for all images (:class:`RuntimeTable`)."""
    batches = [images[:1], images] if len(images) > 1 else [images]
    times = iter(take_turns([partial(function, batch) for function in functions.values() for batch in batches],
                            repeats, PAUSE))
    seconds = {name: [next(times) for _ in batches] for name in functions}
    first = next(iter(seconds.values()), [[]])[0]
    return {name: dict(
        ms=1000 * statistics.median(single), images_per_second=len(images) / statistics.median(seconds[name][-1]),
        speedup=ratio(first, single)) for name, (single, *_) in seconds.items()}


def resident() -> int:
    """Returns the resident memory of this process in bytes without freed memory."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc has this function
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def processor() -> str:
    """Returns the name of the CPU."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text(encoding='utf-8').splitlines() if info.exists() else []
    return next((line.partition(': ')[2] for line in lines if line.startswith('model name')), platform.processor())
