"""Compares the speed, the memory and the accuracy of a network or a whole model in several runtimes, on the CPU."""
import copy
import ctypes
import gc
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import Dim

from ..errors import first_line
from ..export.compare import LOSSY, compare, difference, worst
from ..export.graphs import save, to_onnx
from ..export.models import export_model
from ..export.parts import check_exportable, split
from ..export.preprocess import as_tuple
from ..export.quantize import to_int8
from ..inference.metric import metric_of
from ..inference.runtimes import Arrays, Exported, PyTorchModel, open_session

# Name -> arguments of open_session; the first two run with PyTorch.
RUNTIMES: dict[str, dict[str, str]] = {
    'eager': {}, 'compile': {}, 'onnxruntime': dict(runtime='onnxruntime'), 'openvino': dict(runtime='openvino'),
    'openvino-bf16': dict(runtime='openvino', precision='bf16'), 'int8': dict(runtime='onnxruntime')}


class Network:
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
        several = self.images if len(self.images) > 1 else torch.cat([self.images] * 2)  # a batch of 1 would be fixed
        with torch.no_grad():
            save(to_onnx(self.model, (several, ), ({0: Dim.DYNAMIC}, ), ['images'], self.names), path)

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


class WholeModel:
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
        export_model(split(model.module, self.cfg), path, model.details, self.images[0])

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
        figures = worst([compare(*pair, LOSSY) for pair in zip(expected, outputs, strict=True)])
        figures.pop('instances', None)
        return max((value if name == 'scores' else 1 - value for name, value in figures.items()), default=0.)

    def metric(self, function: Callable) -> dict[str, float]:
        return metric_of(self.cfg, function) if self.has_metric else {}


def compare_runtimes(subject: Network | WholeModel, runtimes: Sequence[str], repeats: int) -> list[dict]:
    """Measures a network or a model in several runtimes, alternately.

    Returns:
        list[dict]: One row per runtime: ``file_mib``; the name and value of the metric; ``deviation`` from eager
        PyTorch; ``ms`` for one image; ``images_per_second`` for all images in one call; ``speedup``, the median ratio
        of the first runtime's time for one image to this one's; ``memory_mib``, by which the process grew when the
        runtime loaded the model and ran it; or ``error`` if the runtime fails.
    """
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


def provide_file(subject: Network | WholeModel, runtime: str, folder: Path) -> Path:
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
    seconds = {name: ([], []) for name in functions}
    for number in range(repeats + 1):
        for name, function in functions.items():
            for inputs, times in zip((images[:1], images), seconds[name]):
                start = time.perf_counter()
                function(inputs)
                if number:  # the first round is a warm-up
                    times.append(time.perf_counter() - start)
    first = next(iter(seconds.values()), ([], []))[0]
    return {name: dict(
        ms=1000 * statistics.median(single), images_per_second=len(images) / statistics.median(many),
        speedup=statistics.median(a / b for a, b in zip(first, single))) for name, (single, many) in seconds.items()}


def resident() -> int:
    """Returns the resident memory of this process in bytes without freed memory, or 0 where /proc does not tell it."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc has this function
        ctypes.CDLL(None).malloc_trim(0)
    status = Path('/proc/self/statm')
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else 0


COLUMNS = dict(model='model', runtime='runtime', file_mib='file, MiB', metric='metric', value='value',
               deviation='deviation', ms='ms', images_per_second='images/s', speedup='times as fast',
               memory_mib='memory, MiB')
FORMATS = dict(file_mib='.1f', value='.4g', deviation='.1e', ms='.1f', images_per_second='.2f', speedup='.2f',
               memory_mib='.0f')


def table_of(rows: Sequence[dict]) -> str:
    """Returns a Markdown table; the errors of failed runtimes follow."""
    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]

    def cell(row: dict, name: str) -> str:
        return format(row[name], FORMATS.get(name, '')) if row.get(name) is not None else ''

    lines = [[COLUMNS[name] for name in columns], ['---'] * len(columns),
             *([cell(row, name) for name in columns] for row in rows)]
    errors = [f'{row["model"]} in {row["runtime"]} failed: {row["error"]}' for row in rows if 'error' in row]
    return '\n'.join([*(f'| {" | ".join(line)} |' for line in lines), *errors])
