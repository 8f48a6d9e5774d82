"""Networks and whole models that are timed in several runtimes."""
import copy
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import Dim

from mmvit_backbones.export.graphs import save, to_onnx
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.reading import find_checkpoint

from ..configs.backbone import build_on_meta
from ..configs.files import config_of
from ..deployment.differences import LOSSY, compare_outputs, difference, worst
from ..deployment.parts import exported_geometry, split
from ..deployment.preprocess import as_tuple
from ..deployment.quantize import to_int8
from ..deployment.sample_images import CALIBRATION_IMAGES, images_of, read
from ..deployment.whole_models import write_parts
from ..folders.data_set_files import check_data
from ..inference.metric import metric_of
from ..inference.runtimes import Arrays, Exported, PyTorchModel, open_session
from ..inference.sources import find_images
from .networks_by_name import build

# Name -> arguments of open_session; the first two run with PyTorch.
RUNTIMES: dict[str, dict[str, str]] = {
    'eager': {}, 'compile': {}, 'onnxruntime': dict(runtime='onnxruntime'), 'openvino': dict(runtime='openvino'),
    'openvino-bf16': dict(runtime='openvino', precision='bf16'), 'int8': dict(runtime='onnxruntime')}


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
        exported_geometry(self.cfg)
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


def timed_network(name: str, dense: bool, size: tuple[int, int], batch_size: int) -> TimedNetwork:
    model = build(name, 'network', dense, size).eval().requires_grad_(False)
    return TimedNetwork(name, model, torch.rand(batch_size, 3, *size))


def timed_model(name: str, config: str | None, images: Sequence[str | Path], count: int, is_quantized: bool
                ) -> TimedModel:
    """Checks a checkpoint, and reads the images to time it on: ``images``, or the first of the config's test set."""
    checkpoint = find_checkpoint(name)
    cfg = config_of(config, name, ('model', 'test_dataloader'))
    build_on_meta(cfg)
    read_checkpoint(checkpoint, mmap=True)
    if images:
        files = find_images(images)
        return TimedModel(name, cfg, checkpoint, read(files, count), read(files, CALIBRATION_IMAGES), False)
    check_data(cfg, ['train', 'test'] if is_quantized else ['test'], content=False)
    calibration = read(images_of(cfg, 'train'), CALIBRATION_IMAGES) if is_quantized else []
    return TimedModel(name, cfg, checkpoint, read(images_of(cfg, 'test'), count), calibration, True)


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
