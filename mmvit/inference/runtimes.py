"""Runs checkpoints with PyTorch, and exported models with ONNX Runtime or OpenVINO."""
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.device import get_device

from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.classes import check_labels, classes_of
from mmvit_backbones.utils.file_access import check_file
from mmvit_backbones.utils.openmmlab_models import type_name
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.loading import load_checkpoint
from mmvit_backbones.zoo.reading import info_of

from .. import frameworks
from ..frameworks import task_of
from ..frameworks.building import build_model, metainfo_of, use_framework
from ..frameworks.tasks import TASKS
from ..predictions.mistakes import SCORE
from ..predictions.results import palette_of
from ..utils.config_parts import leaf_datasets
from ..utils.faults import named

if TYPE_CHECKING:
    import openvino

DETAILS = 'mmvit_backbones'  # name of the JSON metadata in an exported file

CPU, CUDA = 'CPUExecutionProvider', 'CUDAExecutionProvider'

Arrays = dict[str, np.ndarray]
Session = Callable[[Arrays], Arrays]  # from the inputs of a file to its outputs


class PyTorchModel:
    """A framework's model with the weights of a checkpoint and the test pipeline of a config."""

    runtime = 'eager'

    def __init__(self, cfg: Config, checkpoint: str, device: str | torch.device = 'cpu',
                 state: Mapping | None = None) -> None:
        self.cfg, self.framework = cfg, frameworks.of(cfg)
        self.task = task_of(cfg).output
        use_framework(cfg.default_scope)
        state = state or read_checkpoint(checkpoint)
        self.module = build_model(cfg)
        load_checkpoint(self.module, state, checkpoint)
        self.module.to(device).eval()
        dataset = leaf_datasets(cfg.test_dataloader.dataset)[0]
        self.pipeline = TestPipeline(dataset['pipeline'])
        trained = state.get('meta', {}).get('dataset_meta') or {}
        check_labels(classes_of(trained), classes_of(dataset.get('metainfo')), f'checkpoint {checkpoint}',
                     f'the test data of {cfg.filename}', 'pass the config of its training')
        self.meta = {**metainfo_of(dataset), **trained}
        self.details: dict[str, Any] = dict(
            task=self.task, classes=list(self.meta.get('classes') or []), palette=palette_of(self.meta),
            model=type_name(cfg.model), network=type_name(cfg.model.get('backbone', {'type': ''})))
        if self.meta.get('category_ids'):
            self.details['category_ids'] = list(self.meta['category_ids'])
        if SCORE in info_of(dict(state)):
            self.details[SCORE] = info_of(dict(state))[SCORE]

    @property
    def about_bands(self) -> str:
        """Returns what an error adds for a model of images with more or fewer bands than the three of predictions."""
        channels = (self.cfg.model.get('backbone') or {}).get('in_channels', 3)
        return '' if channels == 3 else (f'; model.backbone.in_channels is {channels}, but predictions read images as '
                                         'RGB: use mmvit test, which reads them as the config says')

    def run(self, images: Sequence[np.ndarray]) -> list[Arrays]:
        """Returns the outputs for each image.

        Raises:
            UsageError: If the pipeline or the model fails.
        """
        return self.run_prepared([self.prepare(image) for image in images])

    @torch.no_grad()
    def run_prepared(self, data: Sequence[dict]) -> list[Arrays]:
        """Returns the outputs for the results of :meth:`prepare`; raises UsageError if the model fails."""
        if len({sample['inputs'].shape for sample in data}) > 1:  # they would be padded
            return [found for sample in data for found in self.run_prepared([sample])]
        try:
            samples = self.module.test_step(self.framework.collate(data))
        except Exception as error:  # mismatched parts of a model can raise any exception
            raise UsageError(f'the model failed: {first_line(error)}{self.about_bands}') from error
        return list(map(self.framework.arrays_of, samples))

    def prepare(self, image: np.ndarray) -> dict:
        """Returns the test pipeline's results for an image; raises UsageError if the pipeline fails."""
        try:
            return self.pipeline(image)
        except Exception as error:  # a pipeline can raise any exception
            raise UsageError(f'the test pipeline failed: {first_line(error)}{self.about_bands}') from error


class TestPipeline:
    """The steps of a test pipeline for images that are read already; raises UsageError as :func:`loader_of`."""

    __test__ = False  # of pytest

    def __init__(self, steps: Sequence[dict]) -> None:
        self.is_float = loader_of(steps).get('to_float32', False)
        self.steps = Compose([step for step in steps[1:] if not type_name(step).endswith('LoadAnnotations')])

    def __call__(self, image: np.ndarray) -> Any:
        """Returns the results for an RGB uint8 image ``(height, width, 3)``."""
        pixels, size = np.ascontiguousarray(image[..., ::-1]), image.shape[:2]
        return self.steps(dict(img=pixels.astype(np.float32) if self.is_float else pixels, img_shape=size,
                               ori_shape=size, img_path='', img_id=0))


def loader_of(steps: Sequence[dict]) -> dict:
    """Returns the first step of a test pipeline, which reads a file.

    Raises:
        UsageError: If it reads something else than a file of three bands with OpenCV.
    """
    first = steps[0] if steps else dict(type=None)
    if type_name(first) != 'LoadImageFromFile':
        raise UsageError(f'the test pipeline must begin with LoadImageFromFile, got {type_name(first)}')
    for option, value in dict(color_type='color', imdecode_backend='cv2').items():
        if first.get(option, value) != value:
            raise UsageError(f'{option} of LoadImageFromFile in the test pipeline must be {value}, got '
                             f'{first[option]}: predictions and exported files read RGB with OpenCV; use mmvit test')
    return first


def find_device(name: str | torch.device | None) -> torch.device:
    """Returns the named device, or the best available one for None; raises UsageError if it cannot be used."""
    with named(f'device {name}'):
        return torch.empty(0, device=name or get_device()).device


def open_onnxruntime(path: Path, device: str | torch.device | None) -> Session:
    """Loads an ONNX file in ONNX Runtime, with PyTorch's number of threads, on a GPU if both can use one."""
    import onnxruntime
    found, allowed = find_device(device), ['cpu', *['cuda'] * (CUDA in onnxruntime.get_available_providers())]
    if device is not None and found.type not in allowed:
        raise UsageError(f'device {device} cannot be used: the installed ONNX Runtime supports only '
                         f'{" and ".join(allowed)}; onnxruntime-gpu supports cuda')
    providers: list = [CPU]
    if found.type == 'cuda' and 'cuda' in allowed:
        providers = [(CUDA, dict(device_id=found.index)), CPU]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=providers)
    if len(session.get_providers()) < len(providers):  # ONNX Runtime only warns and uses the next provider
        raise UsageError(f'ONNX Runtime cannot use {CUDA}: CUDA or cuDNN is missing or has an unsupported version')
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, map(np.asarray, session.run(names, inputs))))


def open_openvino(path: Path, device: str | torch.device | None) -> Session:
    """Loads an ONNX file in OpenVINO on the CPU, in float32, with PyTorch's number of threads."""
    if device is not None and find_device(device).type != 'cpu':
        raise UsageError(f'device {device} cannot be used: runtime openvino runs only on cpu')
    model = openvino_core().compile_model(path, 'CPU', dict(
        INFERENCE_PRECISION_HINT='f32', INFERENCE_NUM_THREADS=torch.get_num_threads()))
    # OpenVINO removes identities and merges the names of their inputs and outputs.
    return lambda inputs: {name: values for output, values in model(inputs).items() for name in output.names}


@cache
def openvino_core() -> 'openvino.Core':
    """Returns the one core of this process.

    Each core gives the thread another stack for signals, and gives back the one of before when it is deleted. Of two
    cores, that may be the freed stack of the other, so that the next signal, e.g. of Ctrl-C, would end the process.
    """
    import openvino
    return openvino.Core()


RUNTIMES = dict(onnxruntime=open_onnxruntime, openvino=open_openvino)  # by the names of their packages
REFERENCE = 'onnxruntime'  # the default; an export is refused only for what it computes in this runtime


def installed_runtimes() -> list[str]:
    return list(filter(find_spec, RUNTIMES))


def open_session(path: Path, runtime: str | None = None, device: str | torch.device | None = None) -> Session:
    """Loads an ONNX file; the result takes and returns a dict of arrays.

    Args:
        path (Path): The file.
        runtime (str | None): One of ``RUNTIMES``. Defaults to None, which means ``onnxruntime``.
        device (str | torch.device | None): Defaults to None, which uses a GPU if the runtime supports it.

    Raises:
        UsageError: If the runtime is unknown, not installed or older than the file, an argument is not supported, or
            the file is missing or invalid.
    """
    check_file(path, 'model')
    name = runtime or REFERENCE
    if name not in RUNTIMES:
        raise UsageError(f'runtime must be one of {", ".join(RUNTIMES)}, got {name}')
    if name not in installed_runtimes():
        extra = dict(onnxruntime='export').get(name, name)
        raise UsageError(f"{name} is not installed: pip install 'mmvit_backbones[{extra}]'")
    with named(f'{path} in {name} {version(name)}'):
        return RUNTIMES[name](path, device)


class Exported:
    """A model exported by ``mmvit export``; the arguments are those of :func:`open_session`.

    Copies, also those in other processes, load the file again.
    """

    def __init__(self, path: Path, runtime: str | None = None, device: str | torch.device | None = None) -> None:
        self.session = open_session(path, runtime, device)
        self.arguments = path.absolute(), runtime, device
        self.runtime, self.details = runtime or REFERENCE, details_of(path)
        self.task: str = self.details['task']

    def __reduce__(self) -> tuple:
        return Exported, self.arguments

    def run(self, images: Sequence[np.ndarray]) -> list[Arrays]:
        """Returns the outputs of each image; raises UsageError if the model fails."""
        if self.task == 'detection':
            return [self._run(image=image) for image in images]
        if len({image.shape for image in images}) > 1:
            return [found for image in images for found in self.run([image])]
        found = self._run(images=np.stack(images))
        return [{name: values[number] for name, values in found.items()} for number in range(len(images))]

    def _run(self, **inputs: np.ndarray) -> Arrays:
        try:
            return self.session(inputs)
        except Exception as error:  # the runtimes' exceptions have no public base class
            raise UsageError(f'the model failed: {first_line(error)}') from error


def details_of(path: Path) -> dict:
    """Returns the metadata that ``mmvit export`` has written into a file; raises UsageError if there is none."""
    if not find_spec('onnx'):
        raise UsageError("onnx is not installed: pip install 'mmvit_backbones[export]'")
    import onnx
    with named(f'{path}, as a file of mmvit export,'):
        model = onnx.load(path, load_external_data=False)
        found = {entry.key: entry.value for entry in model.metadata_props}.get(DETAILS)
        details = dict(classes=[], palette=[]) | json.loads(found or '{}')
    if details.get('task') not in [task.output for task in TASKS]:
        raise UsageError(f'{path} has no metadata of a whole model; export one with mmvit export CHECKPOINT FILE')
    return details
