"""Measures a step of the training of whole models, which configs name, on random images."""
import gc
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.optim import build_optim_wrapper

from mmvit_backbones.errors import TrainingError, UsageError
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.utils.initialization import loading_part
from mmvit_backbones.utils.openmmlab_models import init_weights, log_from

from .. import frameworks
from ..configs.files import merge_options
from ..frameworks import task_of
from ..frameworks.building import build_model, use_framework
from ..frameworks.tasks import CLASSIFIER, DETECTOR, SEGMENTER, Task
from ..inference.runtimes import find_device
from ..naming import kind_of
from ..running.openmmlab_scripts import bfloat16_options
from ..running.pytorch_errors import pytorch_errors_named
from ..running.run_folder import RunFolder
from ..utils.faults import named
from .contenders import Contender, Precision, Table, measuring
from .timing import name_of

OBJECTS = 8  # in an image of a detector, or classes in one of a segmenter; images of COCO have 7 objects on average
# Without those of mixed precision, which needs a GPU in MMEngine.
OPTIMIZATION = 'optimizer', 'constructor', 'paramwise_cfg', 'clip_grad', 'accumulative_counts'


def is_whole(name: str) -> bool:
    """Returns whether a name is of a whole model: a config, or the work dir of a training."""
    return kind_of(name) in ('config', 'run')


def measure_whole_models(names: Sequence[str], size: int | Sequence[int] | None, batch_size: int, repeats: int,
                         threads: int, device: str, precision: Precision) -> Table:
    """Returns the time and the memory of a step of the training of whole models; see :func:`.benchmark`."""
    if others := [name for name in names if not is_whole(name)]:
        raise UsageError(f'{others[0]} is no config or work dir; whole models are measured alone')
    cfgs = {name: RunFolder.open(name, ('model', 'optim_wrapper')).config for name in names}
    tasks = {task_of(cfg) for cfg in cfgs.values()}
    if len(tasks) != 1:
        names = sorted(task.framework for task in tasks)
        raise UsageError(f'configs must be of one framework, got those of {" and ".join(names)}')
    task, = tasks
    sides = height_and_width(task.size if size is None else size)
    rows, at = [], find_device(device)
    with measuring(threads), torch.cuda.device(at) if at.type == 'cuda' else nullcontext():
        for name, cfg in cfgs.items():
            row: dict[str, Any] = dict(model=Path(name).stem)
            try:
                row = {**measure_model(cfg, sides, batch_size, at, precision, repeats), **row}
            except UsageError as error:
                raise UsageError(f'config {name}: {error}') from error
            except TrainingError as error:  # memory is full, or a kernel is missing
                row['error'] = str(error)
            gc.collect()  # of cycles with the model
            torch.cuda.empty_cache()
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    about = (f'A step of a training; {name_of(at)}, torch {torch.__version__}, {sides[0]} x {sides[1]} (height x '
             f'width), batch {batch_size}, {precision}, {threads} CPU threads, random weights, median of {repeats}')
    return Table(about, rows)


def measure_model(cfg: Config, size: tuple[int, int], batch_size: int, device: torch.device, precision: Precision,
                  repeats: int) -> dict[str, Any]:
    """Returns the figures of the model of a config; faults are named."""
    with named('the model'), pytorch_errors_named():
        model = WholeModel(cfg, size, batch_size, device, precision)
        model.measure_memory()
        model.measure_step(repeats)
        return model.row


class WholeModel(Contender):
    """The model of a config with its optimizer, and a batch of random images and annotations.

    Args:
        cfg (Config): Config of a detector, a segmenter or a classifier.
        size (tuple[int, int]): Height and width of the images.
        batch_size (int): Number of images.
        device (torch.device): Where the model is trained.
        precision (str): Dtype of autocast, or ``'float32'`` without autocast.

    Raises:
        UsageError: If the optimizer cannot be built.
    """

    def __init__(self, cfg: Config, size: tuple[int, int], batch_size: int, device: torch.device, precision: str
                 ) -> None:
        use_framework(cfg.default_scope)
        cfg = deepcopy(cfg)
        preprocessor = cfg.model.get('data_preprocessor') or {}
        for key, value in dict(size=size, batch_augments=None).items():  # it neither pads nor resizes to others
            if key in preprocessor:
                preprocessor[key] = value
        merge_options(cfg, bfloat16_options(cfg) if precision == 'bfloat16' else {})
        model: Any = build_model(cfg)
        for module in model.modules():
            if isinstance(module, BaseModule) and loading_part(module.init_cfg):
                module.init_cfg = None
        init_weights(model)
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(256, (batch_size, 3, *size), dtype=torch.uint8, generator=generator).to(device)
        super().__init__('', model, images, precision)
        optimization = {key: cfg.optim_wrapper[key] for key in OPTIMIZATION if key in cfg.optim_wrapper}
        with named('optim_wrapper'), log_from(logging.WARNING):  # constructors log the rate of each parameter
            self.optimizer: Any = build_optim_wrapper(model, optimization)
        sample = SAMPLES[task_of(cfg)]
        self.samples = [sample(model, size, generator).to(device) for _ in range(batch_size)]
        self.collate = frameworks.of(cfg).collate

    def outputs(self) -> Any:
        model: Any = self.model
        batch = [dict(inputs=image, data_samples=sample.clone()) for image, sample in zip(self.images, self.samples)]
        data = model.data_preprocessor(self.collate(batch), True)
        with self.autocast:
            return model(**data, mode='loss')

    def step(self) -> None:
        model: Any = self.model
        with self.optimizer.optim_context(model):
            losses = self.outputs()
        self.optimizer.update_params(model.parse_losses(losses)[0])


# ---- random annotations

def detection_sample(model: Any, size: tuple[int, int], generator: torch.Generator) -> Any:
    """Returns mmdet's sample of boxes from a twentieth to half of the image's sides, filled by their masks."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData
    height, width = size
    sides = torch.rand(OBJECTS, 2, generator=generator) * 0.45 + 0.05
    corners = torch.rand(OBJECTS, 2, generator=generator) * (1 - sides)
    boxes = torch.cat([corners, corners + sides], 1) * torch.tensor([width, height, width, height])
    masks = np.zeros((OBJECTS, height, width), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.round().int().tolist()):
        mask[top:bottom + 1, left:right + 1] = 1
    instances = InstanceData(bboxes=boxes, labels=torch.zeros(OBJECTS, dtype=torch.long),
                             masks=BitmapMasks(masks, height, width))
    return DetDataSample(gt_instances=instances, metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1., 1.)))


def segmentation_sample(model: Any, size: tuple[int, int], generator: torch.Generator) -> Any:
    """Returns mmseg's sample of a label map with squares of the first classes."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    height, width = size
    squares = torch.randint(min(OBJECTS, model.num_classes), (-(-height // 32), -(-width // 32)), generator=generator)
    labels = squares.repeat_interleave(32, 0).repeat_interleave(32, 1)[None, :height, :width]
    return SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=dict(img_shape=size, ori_shape=size))


def classification_sample(model: Any, size: tuple[int, int], generator: torch.Generator) -> Any:
    """Returns mmpretrain's sample with a label."""
    from mmpretrain.structures import DataSample
    return DataSample().set_gt_label(torch.randint(model.head.num_classes, (1, ), generator=generator))


SAMPLES: dict[Task, Callable] = {CLASSIFIER: classification_sample, DETECTOR: detection_sample,
                                 SEGMENTER: segmentation_sample}
