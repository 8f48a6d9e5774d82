"""Compares the speed, the memory and the accuracy of a network or a whole model in several runtimes, on the CPU."""
import copy
import csv
import ctypes
import gc
import platform
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import Dim

from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.export.graphs import save, to_onnx
from mmvit_backbones.utils.text import markdown_table
from mmvit_backbones.zoo.checks import check_backbone, check_checkpoint
from mmvit_backbones.zoo.runs import find_checkpoint
from mmvit_backbones.zoo.variants import VARIANTS, find_names

from ..deployment.differences import LOSSY, compare_outputs, difference, worst
from ..deployment.images import CALIBRATION_IMAGES, images_of, read
from ..deployment.models import write_parts
from ..deployment.parts import check_exportable, split
from ..deployment.preprocess import as_tuple
from ..deployment.quantize import to_int8
from ..folders.checks import check_data
from ..folders.problems import warn
from ..inference.metric import metric_of
from ..inference.predictor import config_of
from ..inference.runtimes import Arrays, Exported, PyTorchModel, open_session
from ..inference.sources import find_images
from ..utils.config import path_hint
from .speed import build_other, default_size, measuring

# Name -> arguments of open_session; the first two run with PyTorch.
RUNTIMES: dict[str, dict[str, str]] = {
    'eager': {}, 'compile': {}, 'onnxruntime': dict(runtime='onnxruntime'), 'openvino': dict(runtime='openvino'),
    'openvino-bf16': dict(runtime='openvino', precision='bf16'), 'int8': dict(runtime='onnxruntime')}


PAUSE = 0.05  # seconds before a run; threads of ONNX Runtime and OpenMP spin after one, and would slow down the next


class TimedNetwork:
    """A network that is timed on random images.

    Args:
        name (str): Name for the table.
        model (nn.Module): Network on the CPU in evaluation mode, which is not changed.
        images (Tensor): ``(B, 3, H, W)``.
    """

    def __init__(self, name: str, model: nn.Module, images: Tensor) -> None:
        self.name, self.model, self.images = name, model, images
        self.names = [f'output{number}' for number in range(len(self.outputs(model, images[:1])))]

    @staticmethod
    @torch.inference_mode()
    def outputs(model: Callable, images: Tensor) -> tuple[Tensor, ...]:
        return as_tuple(model(images))

    def export(self, path: Path) -> None:
        shapes = (None if len(self.images) == 1 else {0: Dim.DYNAMIC}, )  # a fixed shape is faster in OpenVINO
        with torch.no_grad():
            save(to_onnx(self.model, (self.images, ), shapes, ['images'], self.names), path)

    def quantize(self, path: Path) -> None:
        to_int8(path, [image[None].numpy() for image in self.images], 'images')

    def load(self, runtime: str, path: Path) -> Callable[[Any], Sequence]:
        """Returns a function from images to outputs."""
        if runtime in ('eager', 'compile'):
            model = copy.deepcopy(self.model)
            model = torch.compile(model) if runtime == 'compile' else model
            return lambda images: self.outputs(model, images)
        session = open_session(path, device='cpu', **RUNTIMES[runtime])

        def run(images: Tensor) -> list[Tensor]:
            found = session(dict(images=images.numpy()))
            return [torch.from_numpy(found[name]) for name in self.names]
        return run

    def deviation(self, outputs: Sequence, expected: Sequence) -> float:
        """Returns the largest difference of an output, relative to its largest element."""
        return max(difference(*pair) for pair in zip(outputs, expected, strict=True))

    def metric(self, function: Callable) -> dict[str, float]:
        return {}


class TimedModel:
    """A checkpoint with its config, timed from images to results.

    Args:
        name (str): Name for the table.
        cfg (Config): Config of the checkpoint.
        checkpoint (str): The checkpoint.
        images (Sequence[np.ndarray]): RGB images ``(height, width, 3)``, uint8.
        calibration (Sequence[np.ndarray]): Other images, to quantize the model.
        has_metric (bool): Whether to compute the metric of the config's test set.
    """

    def __init__(self, name: str, cfg: Config, checkpoint: str, images: Sequence[np.ndarray],
                 calibration: Sequence[np.ndarray], has_metric: bool) -> None:
        self.name, self.cfg, self.checkpoint, self.images = name, cfg, checkpoint, images
        self.calibration, self.has_metric = calibration, has_metric

    def export(self, path: Path) -> None:
        check_exportable(self.cfg)
        model = PyTorchModel(self.cfg, self.checkpoint)
        write_parts(split(model.module, self.cfg), path, model.details, self.images[0])

    def quantize(self, path: Path) -> None:
        source = Exported(path).source
        to_int8(path, [image if source == 'image' else image[None] for image in self.calibration], source)

    def load(self, runtime: str, path: Path) -> Callable[[Any], Sequence[Arrays]]:
        """Returns a function from images to results; ``compile`` compiles only the backbone."""
        if runtime not in ('eager', 'compile'):
            run = Exported(path, device='cpu', **RUNTIMES[runtime]).run
        else:
            model = PyTorchModel(self.cfg, self.checkpoint)
            if runtime == 'compile':
                model.module.get_submodule('backbone').compile()
            run = model.run
        return lambda images: [found for image in images for found in run([image])]

    def deviation(self, outputs: Sequence[Arrays], expected: Sequence[Arrays]) -> float:
        """Returns the largest difference of scores, or of a share of equal pixels or an IoU from 1."""
        figures = worst([compare_outputs(*pair, LOSSY) for pair in zip(expected, outputs, strict=True)])
        figures.pop('instances', None)
        return max((value if name == 'scores' else 1 - value for name, value in figures.items()), default=0.)

    def metric(self, function: Callable) -> dict[str, float]:
        return metric_of(self.cfg, function) if self.has_metric else {}


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
        """Writes the rows to a CSV file."""
        with open(path, 'w', newline='') as file:
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
        runtimes (Sequence[str]): Some of ``RUNTIMES``.
        config (str | None): Config of the checkpoints. Defaults to None, which means the one that the training saved.
        images (Sequence[str | Path]): Image files or folders to time checkpoints on, without a metric. Defaults to (),
            which means the config's test set.
        dense, size, batch_size, repeats, threads: As in :func:`benchmark`. ``size`` is for networks; checkpoints resize
            images as in their test.

    Raises:
        UsageError: If a network cannot be built, a checkpoint or its data cannot be used, or an argument does not
            concern any of ``networks``. An error in a runtime is a row of the table.
    """
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


def is_checkpoint(name: str) -> bool:
    """Returns whether a name is not that of a network, but of a checkpoint or a work dir."""
    return name not in VARIANTS and (name.endswith('.pth') or Path(name).is_dir())


def timed_network(name: str, dense: bool, size: tuple[int, int] | None, batch_size: int) -> TimedNetwork:
    size = size or default_size(dense)
    model = build_other(name, 'network', dense, size).eval().requires_grad_(False)
    return TimedNetwork(name, model, torch.rand(batch_size, 3, *size))


def timed_model(name: str, config: str | None, images: Sequence[str | Path], count: int, is_quantized: bool
                ) -> TimedModel:
    """Checks a checkpoint, and reads the images to time it on: ``images``, or the first of the config's test set."""
    checkpoint = find_checkpoint(name)
    cfg: Config = config_of(config, checkpoint)
    check_backbone(cfg)
    check_checkpoint(checkpoint)
    if images:
        files = find_images(images)
        return TimedModel(name, cfg, checkpoint, read(files, count), read(files, CALIBRATION_IMAGES), False)
    check_data(cfg, ['train', 'test'] if is_quantized else ['test'], content=False)
    calibration = read(images_of(cfg, 'train'), CALIBRATION_IMAGES) if is_quantized else []
    return TimedModel(name, cfg, checkpoint, read(images_of(cfg, 'test'), count), calibration, True)


def measure_subject(subject: TimedNetwork | TimedModel, runtimes: Sequence[str], repeats: int) -> list[dict]:
    """Returns the rows of a network or a model, measured alternately in several runtimes (:class:`RuntimeTable`)."""
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
        for runtime, figures in measure(functions, subject.images, repeats).items():
            rows[runtime].update(figures)
    return list(rows.values())


def provide_file(subject: TimedNetwork | TimedModel, runtime: str, folder: Path) -> Path:
    """Returns the file for a runtime, which is exported once; for PyTorch, the folder."""
    if not RUNTIMES[runtime]:
        return folder
    path = folder / 'float.onnx'
    if not path.exists():
        subject.export(path)
    if runtime != 'int8':
        return path
    quantized = Path(shutil.copy(path, folder / 'int8.onnx'))
    subject.quantize(quantized)
    return quantized


def measure(functions: dict[str, Callable], images: Any, repeats: int) -> dict[str, dict[str, float]]:
    """Times functions alternately, so that other load on the machine affects all equally."""
    batches = [images[:1], images] if len(images) > 1 else [images]
    seconds = {name: [[] for _ in batches] for name in functions}
    for number in range(repeats + 1):
        for name, function in functions.items():
            for inputs, times in zip(batches, seconds[name]):
                time.sleep(PAUSE)
                start = time.perf_counter()
                function(inputs)
                if number:  # the first round is a warm-up
                    times.append(time.perf_counter() - start)
    first = next(iter(seconds.values()), [[]])[0]
    return {name: dict(
        ms=1000 * statistics.median(times[0]), images_per_second=len(images) / statistics.median(times[-1]),
        speedup=statistics.median(a / b for a, b in zip(first, times[0]))) for name, times in seconds.items()}


def resident() -> int:
    """Returns the resident memory of this process in bytes without freed memory, or 0 where /proc does not tell it."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc has this function
        ctypes.CDLL(None).malloc_trim(0)
    status = Path('/proc/self/statm')
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else 0


def processor() -> str:
    """Returns the name of the CPU."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(': ')[2] for line in lines if line.startswith('model name')), platform.processor())
