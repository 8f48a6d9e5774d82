"""Loads checkpoints and exported files for prediction."""
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from ..errors import UsageError
from .predictor import Predictor, find_config

TASK_OF_FRAMEWORK = {'mmpretrain': 'classification', 'mmdet': 'detection', 'mmseg': 'segmentation'}
PARTS = 'preprocess', 'network', 'postprocess'
WEIGHTS_ONLY = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
DETAILS = 'mmvit_backbones'  # entry of an exported file with its task and classes, in JSON


class Model:
    """A model that predicts single images.

    Attributes:
        task (str): ``classification``, ``detection`` or ``segmentation``.
        classes (list[str]): Names of the classes; empty if the file has none.
        runtime (str): ``eager``, ``onnxruntime``, ``pt2`` or ``aoti``.
    """

    def predict(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts one image.

        Args:
            image (np.ndarray): RGB, uint8 ``(height, width, 3)``.

        Returns:
            dict[str, np.ndarray]: For a classifier ``labels (classes)`` int64, most likely first, and ``scores``
            float32; for a detector ``labels (N)``, ``scores (N)``, highest first, ``boxes (N, 4)`` float32 as x1, y1,
            x2, y2 in pixels of the image, for Mask R-CNN also ``masks (N, height, width)`` bool; for a segmenter
            ``segmentation (height, width)`` int64.

        Raises:
            ValueError: If the image has another dtype or shape, or a size that the file does not support.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 \
                or 0 in image.shape:
            came = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f'image must be a uint8 array (height, width, 3) in RGB, got {came}')
        outputs = self._run(np.ascontiguousarray(image))
        if self.task == 'classification':
            labels = np.argsort(-outputs['scores'], kind='stable')
            return dict(labels=labels, scores=outputs['scores'][labels])
        return outputs

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        raise NotImplementedError


class Checkpoint(Model):
    """A model of a framework with its weights, run by PyTorch."""

    runtime = 'eager'

    def __init__(self, cfg: Config, checkpoint: str, device: str | torch.device = 'cpu') -> None:
        self.cfg, self.predictor = cfg, Predictor(cfg, checkpoint, device)
        self.module = self.predictor.model
        self.task = TASK_OF_FRAMEWORK[self.predictor.framework]
        self.classes = list(self.predictor.visualizer.dataset_meta.get('classes') or [])

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        sample = self.predictor.predict_array(image)
        if self.task == 'classification':
            return dict(scores=sample.pred_score.cpu().numpy())
        if self.task == 'segmentation':
            return dict(segmentation=sample.pred_sem_seg.data[0].cpu().numpy())
        found = sample.pred_instances
        names = dict(labels='labels', scores='scores', boxes='bboxes', masks='masks')
        return {name: found[key].cpu().numpy() for name, key in names.items() if key in found}


class Exported(Model):
    """A file written by ``tools/export.py``."""

    def __init__(self, details: str) -> None:
        details = json.loads(details)
        self.task, self.classes, self.outputs = details['task'], details['classes'], details['outputs']


class OnnxFile(Exported):
    runtime = 'onnxruntime'

    def __init__(self, path: Path) -> None:
        try:
            self.session = session_of(path)
        except Exception as error:  # of classes that are ONNX Runtime's own
            raise UsageError(f'{path} is not a valid ONNX file: {error}') from error
        details = self.session.get_modelmeta().custom_metadata_map.get(DETAILS)
        if not details or [value.name for value in self.session.get_inputs()] != ['image']:
            raise UsageError(f'{path} has no preprocessing: export it by tools/export.py with preprocessing inside')
        super().__init__(details)

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.outputs, self.session.run(self.outputs, dict(image=image)), strict=True))


def session_of(path: Path):
    """Returns a session of ONNX Runtime with torch's number of threads."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])


class Pt2File(Exported):
    """Graphs of ``torch.export``, or their compiled code by AOTInductor, run in sequence."""

    def __init__(self, path: Path, trust_code: bool) -> None:
        from torch.export.pt2_archive._package import load_pt2
        try:
            is_compiled = any('/aotinductor/' in name for name in zipfile.ZipFile(path).namelist())
            if is_compiled and not trust_code:
                raise UsageError(f'{path} contains compiled code, which runs with your rights: if you trust it, '
                                 'load it with trust_code=True, or --trust-code')
            self.runtime = 'aoti' if is_compiled else 'pt2'
            with warnings.catch_warnings(), weights_only():
                # The reader's own, of weights that it only reads.
                warnings.filterwarnings('ignore', 'The given buffer is not writable', UserWarning)
                archive = load_pt2(str(path))
            details = archive.extra_files[DETAILS]
        except pickle.UnpicklingError as error:
            raise UsageError(f'{path} contains objects that could run code, and is not loaded') from error
        except (KeyError, RuntimeError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise UsageError(f'{path} is not a file of tools/export.py: {str(error).splitlines()[0]}') from error
        super().__init__(details)
        parts = archive.aoti_runners or {name: program.module() for name, program in archive.exported_programs.items()}
        if parts.keys() != set(PARTS):
            raise UsageError(f'{path} has no preprocessing: export it by tools/export.py with preprocessing inside')
        self.parts = [parts[name] for name in PARTS]

    @torch.inference_mode()
    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        preprocess, network, postprocess = self.parts
        image = torch.from_numpy(image.copy() if not image.flags.writeable else image)
        try:
            found = postprocess(image, *as_tuple(network(*as_tuple(preprocess(image)))))
        except AssertionError as error:  # a guard: for this size, the network takes a path that the graph lacks
            raise ValueError(f'an image of {image.shape[0]} x {image.shape[1]} pixels is of a size that this file does '
                             f'not support; an ONNX file does ({error})') from error
        return {name: value.numpy() for name, value in zip(self.outputs, as_tuple(found), strict=True)}


@contextmanager
def weights_only() -> Iterator[None]:
    """Restricts ``torch.load`` to weights, although torch's reader of archives asks for all objects."""
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = '1'
    try:
        yield
    finally:
        del os.environ[WEIGHTS_ONLY]
        os.environ.update({} if before is None else {WEIGHTS_ONLY: before})


def as_tuple(values: torch.Tensor | Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return (values, ) if isinstance(values, torch.Tensor) else tuple(values)


def load(path: str | PathLike, config: str | None = None, device: str | torch.device = 'cpu',
         trust_code: bool = False) -> Model:
    """Loads a model for prediction. The suffix selects the file format.

    Args:
        path (str | PathLike): ``.onnx`` or ``.pt2`` of ``tools/export.py``, or a checkpoint for PyTorch.
        config (str | None): Config file of a checkpoint. Defaults to None: the config in the checkpoint.
        device (str | torch.device): Device of a checkpoint's model; exported files run on the CPU.
        trust_code (bool): Load files of ``--format aoti``. They contain compiled code, which runs with the
            rights of this process; the other files contain no code.

    Returns:
        Model: With ``predict(image)``.

    Raises:
        UsageError: If the file is missing, does not match its suffix, or contains compiled code that is not trusted.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f'model {path} does not exist')
    if path.suffix == '.onnx':
        return OnnxFile(path)
    if path.suffix == '.pt2':
        return Pt2File(path, trust_code)
    return Checkpoint(find_config(config, str(path)), str(path), device)
