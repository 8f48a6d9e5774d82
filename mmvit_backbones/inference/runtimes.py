"""Models of checkpoints and of exported files, run by PyTorch and ONNX Runtime."""
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import nn

from ..errors import UsageError, first_line
from ..utils.config import datasets_of
from ..utils.file_configs import import_quietly
from ..zoo.loading import load_from_safe, load_weights

TASKS = dict(mmpretrain='classification', mmdet='detection', mmseg='segmentation', mmpose='pose')
PARTS = 'preprocess', 'network', 'postprocess'
WEIGHTS_ONLY = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
DETAILS = 'mmvit_backbones'  # entry of an exported file with its details, in JSON

Arrays = dict[str, np.ndarray]


class Checkpoint:
    """A model of a framework with its weights, and its test pipeline."""

    runtime = 'eager'

    def __init__(self, cfg: Config, checkpoint: str, device: str | torch.device = 'cpu') -> None:
        self.cfg, framework = cfg, cfg.default_scope
        self.task = TASKS[framework]
        import_quietly(framework)
        init_default_scope(framework)
        state = load_from_safe(checkpoint, map_location='cpu')
        self.module = build_model(cfg)
        load_weights(self.module, state, checkpoint)
        self.module.to(device).eval()
        dataset = datasets_of(cfg, 'test')[0]
        steps = [step for step in dataset.pipeline if not step['type'].endswith('LoadAnnotations')]
        self.pipeline = Compose(steps).transforms[1:]  # the first reads a file
        self.collate = default_collate if framework == 'mmpretrain' else pseudo_collate
        # The names of the classes; of the data set, no files are read.
        metainfo = DATASETS.build(dict(dataset, lazy_init=True)).metainfo
        self.meta = {**metainfo, **state.get('meta', {}).get('dataset_meta', {})}
        self.links = dict(links=np.array(self.meta.get('skeleton_links') or [], int)) if self.task == 'pose' else {}
        self.details = dict(task=self.task, classes=list(self.meta.get('classes') or []), palette=palette_of(self.meta),
                            model=cfg.model.type, network=cfg.model.get('backbone', {}).get('type', ''))

    @torch.no_grad()
    def run(self, images: Sequence[np.ndarray]) -> list[Arrays]:
        """Returns the outputs for each image; raises UsageError if the pipeline does not take one."""
        data, groups = [self._prepare(image) for image in images], {}
        for number, one in enumerate(data):  # images of one shape alone make a batch: others would be padded
            groups.setdefault(tuple(one['inputs'].shape), []).append(number)
        found = {}
        for numbers in groups.values():
            samples = self.module.test_step(self.collate([data[number] for number in numbers]))
            found.update({number: {**arrays_of(sample), **self.links} for number, sample in zip(numbers, samples)})
        return [found[number] for number in range(len(images))]

    def _prepare(self, image: np.ndarray) -> dict:
        size = image.shape[:2]
        data = dict(img=np.ascontiguousarray(image[..., ::-1]), img_shape=size, ori_shape=size, img_path='', img_id=0)
        if self.task == 'pose':  # the image is one animal's box
            box = np.array([[0, 0, *size[::-1]]], dtype=np.float32)
            data.update(bbox=box, bbox_score=np.ones(1, dtype=np.float32), **self.meta)
        try:
            for step in self.pipeline:
                data = step(data)
        except Exception as error:  # a pipeline can fail in any way
            raise UsageError(f'the test pipeline fails: {first_line(error)}') from error
        return data


def arrays_of(sample: BaseDataElement) -> Arrays:
    """Returns the predictions in a framework's sample."""
    if 'pred_score' in sample:
        return dict(scores=sample.pred_score.cpu().numpy())
    if 'pred_sem_seg' in sample:
        return dict(segmentation=sample.pred_sem_seg.data[0].cpu().numpy())
    found = sample.pred_instances
    if 'keypoints' in found:
        return dict(points=np.asarray(found.keypoints[0]), scores=np.asarray(found.keypoint_scores[0]))
    names = dict(labels='labels', scores='scores', boxes='bboxes', masks='masks')
    return {name: found[key].cpu().numpy() for name, key in names.items() if key in found}


def palette_of(metainfo: dict) -> list[tuple[int, ...]]:
    """Returns the colors of a data set's classes as RGB; none for those with the name of a palette."""
    palette = metainfo.get('palette')
    return [] if palette is None or isinstance(palette, str) else [tuple(map(int, color)) for color in palette]


def build_model(cfg: Config) -> nn.Module:
    """Builds the model of a config, for one process."""
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return revert_sync_batchnorm(MODELS.build(cfg.model))


class Exported:
    """A file written by ``tools/export.py``. Subclasses run an image, or a batch of classifiers and segmenters."""

    def __init__(self, path: Path, details: str | None) -> None:
        self.details = json.loads(details or '{}')
        if not self.details.get('preprocessing', {}).get('inside'):
            raise UsageError(f'{path} has no preprocessing: export it by tools/export.py with preprocessing inside')
        self.task = self.details['task']
        self.outputs = [output['name'] for output in self.details['outputs']]

    def run(self, images: Sequence[np.ndarray]) -> list[Arrays]:
        """Returns the outputs for each image; raises UsageError if a ``.pt2`` has no graph for its size."""
        if self.task == 'detection':
            return [self._run(image) for image in images]
        if len({image.shape for image in images}) > 1:
            return [found for image in images for found in self.run([image])]
        found = self._run(np.stack(images))
        return [{name: values[number] for name, values in found.items()} for number in range(len(images))]


class OnnxFile(Exported):
    runtime = 'onnxruntime'

    def __init__(self, path: Path) -> None:
        try:
            self.session = session_of(path)
        except Exception as error:  # of classes that are ONNX Runtime's own
            raise UsageError(f'{path} is not a valid ONNX file: {error}') from error
        super().__init__(path, self.session.get_modelmeta().custom_metadata_map.get(DETAILS))

    def _run(self, image: np.ndarray) -> Arrays:
        inputs = {self.details['input']['name']: image}
        return dict(zip(self.outputs, self.session.run(self.outputs, inputs), strict=True))


def session_of(model: str | Path | bytes):
    """Returns a session of ONNX Runtime for a file or its content, with torch's number of threads."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])


class Pt2File(Exported):
    """Graphs of ``torch.export``, or their compiled code by AOTInductor, run in sequence."""

    def __init__(self, path: Path, trust_code: bool) -> None:
        import torchvision  # noqa: F401  registers the operators of detectors
        from torch.export.pt2_archive._package import load_pt2
        try:
            is_compiled = any('/aotinductor/' in name for name in zipfile.ZipFile(path).namelist())
            if is_compiled and not trust_code:
                raise UsageError(f'{path} contains compiled code, which runs with your rights: if you trust it, '
                                 'load it with trust_code=True')
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
        super().__init__(path, details)
        parts = archive.aoti_runners or {name: program.module() for name, program in archive.exported_programs.items()}
        self.parts = [parts[name] for name in PARTS]

    @torch.inference_mode()
    def _run(self, image: np.ndarray) -> Arrays:
        preprocess, network, postprocess = self.parts
        image = torch.from_numpy(image if image.flags.writeable else image.copy())
        try:
            found = postprocess(image, *as_tuple(network(*as_tuple(preprocess(image)))))
        except AssertionError as error:  # a guard: for this size, the network takes a path that the graph lacks
            height, width = image.shape[-3:-1]
            raise UsageError(f'an image of {height} x {width} pixels is of a size that this file does not support; an '
                             f'ONNX file does ({error})') from error
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
