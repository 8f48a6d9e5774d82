"""Builds a training before it starts, and computes a loss for ``mmvit train --check``."""
import logging
import traceback
import warnings
from contextlib import nullcontext
from copy import deepcopy
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvit_backbones.errors import MMViTError, UsageError
from mmvit_backbones.utils.classes import classes_of, shown
from mmvit_backbones.utils.finite import first_not_finite
from mmvit_backbones.utils.openmmlab_models import log_from
from mmvit_backbones.zoo.loading import read_state, safe_loading

from .. import frameworks
from ..configs.outputs import check_copy
from ..frameworks.building import use_framework
from ..utils.distributed import warn
from ..utils.faults import named, quiet, why
from .pytorch_errors import pytorch_errors_named
from .runners import CheckedRunner, runner_type
from .strides import checked_strides
from .terminal import rehearse_pace

SIDE = 128  # pixels of the longer side of the images


class Rehearsal(CheckedRunner):
    """A training that ends at its first step, of which the loss is computed on the CPU; or a test without its images.

    MMEngine builds its parts. It has no logs, and calls no hook.
    """

    def build_logger(self, *arguments: Any, **options: Any) -> MMLogger:
        return MMLogger.get_current_instance()

    def build_visualizer(self, visualizer: Any = None) -> Any:  # a backend could begin a run on a server
        return super().build_visualizer({'type': 'Visualizer', **(visualizer or {}), 'name': self.work_dir,
                                         'vis_backends': None, 'save_dir': self.work_dir})

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        return revert_sync_batchnorm(model)

    def build_train_loop(self, loop: Any) -> Any:
        loop = super().build_train_loop(loop)
        loop.run = lambda: check_step(self)
        return loop

    def build_val_loop(self, loop: Any) -> Any:
        return read_first(super().build_val_loop(loop))

    def build_test_loop(self, loop: Any) -> Any:
        loop = read_first(super().build_test_loop(loop))
        loop.run = dict  # of no metrics
        return loop

    def load_or_resume(self) -> None:
        if path := self._load_from:
            self.check_checkpoint(read_state(path, 'cpu'), path)

    def _log_env(self, *arguments: Any, **options: Any) -> None:
        """Does nothing."""

    dump_config = call_hook = _log_env


def read_first(loop: Any) -> Any:
    """Returns a loop after reading its first sample, if there is one."""
    if len(loop.dataloader.dataset):
        loop.dataloader.dataset[0]
    return loop


def rehearse(cfg: Config, processes: int = 1, is_test: bool = False, is_timed: bool = False) -> str:
    """Builds all parts of a training, and computes a loss on the CPU, with images reduced to about 128 pixels.

    Nothing is written but a temporary folder. Returns a line that says how long the training takes, or nothing.

    Args:
        cfg (Config): Config of the training.
        processes (int): Number of its processes. Defaults to 1.
        is_test (bool): Whether to build those of a test, and load its checkpoint. Defaults to False.
        is_timed (bool): Whether to run some steps as the training does, too. Defaults to False.

    Raises:
        TrainingError: If memory is too small for a step.
        UsageError: If a part cannot be built, or the model fails; the message names the setting, or the layer.
        CheckpointError: If the checkpoint to start from does not fit.
    """
    check_copy(cfg)
    use_framework(cfg.default_scope)
    name = cfg.get('runner_type', 'Runner')
    base: Any = RUNNERS.get(name)
    if not issubclass(base, Runner):
        warn(f'the check builds no {name}; what does not fit is named when the run starts')
        return ''
    with warnings.catch_warnings(), log_from(logging.CRITICAL), TemporaryDirectory() as folder, safe_loading():
        warnings.simplefilter('ignore')
        own = deepcopy(cfg)
        own.work_dir, own.launcher, own.experiment_name = folder, 'none', 'check'
        with named(f'config {cfg.filename}'), quiet():  # pycocotools prints its steps
            run: Any = runner_type(name, Rehearsal).from_cfg(own)
            run.processes = processes
            run.test() if is_test else run.train()
            with pytorch_errors_named('train', 'val'):
                return rehearse_pace(run) if is_timed else ''


def check_heads(model: nn.Module, dataset: Any) -> None:
    """Raises UsageError if a head has fewer classes than the data, but more than one, such as objectness."""
    names = classes_of(getattr(dataset, 'metainfo', None))
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        if name and isinstance(count, int) and 1 < count < len(names):
            raise UsageError(f'model.{name}.num_classes is {count}, but the training data have {len(names)} classes: '
                             f'{shown(names)}')


def check_step(run: Rehearsal) -> None:
    """Computes the loss of the first and the last sample of a batch, which may be of different sources."""
    model: Any = run.model
    loader: Any = run.train_dataloader
    check_heads(model, loader.dataset)
    if type(model).train_step is not BaseModel.train_step:
        warn(f'{type(model).__name__} has a training step of its own, in which the check does not look')
        return
    with named('train_dataloader'):
        batch = next(iter(loader.batch_sampler))
        batch = loader.collate_fn([loader.dataset[i] for i in (batch[0], batch[-1])])
    try:
        data = model.train().data_preprocessor(batch, True)
        inputs = data.get('inputs') if isinstance(data, dict) else None
        is_image = isinstance(inputs, Tensor) and inputs.ndim == 4  # no views, branches or videos
        data = reduced(data) if is_image and frameworks.of(run.cfg).TAKES_ANY_SIZE else data
        with torch.no_grad(), checked_strides(model, data['inputs'].shape[2:]) if is_image else nullcontext():
            losses = model.parse_losses(model._run_forward(data, mode='loss'))[1]
    except MMViTError:
        raise
    except Exception as error:  # models can fail in any way
        raise UsageError(explain(model, error)) from error
    if found := first_not_finite(losses):
        raise UsageError(f'in a training step, {found}: check the weights, the data and the loss functions')


def explain(model: nn.Module, error: Exception) -> str:
    """Returns a line about the layer in which a model failed."""
    names = {module: name for name, module in model.named_modules() if name}
    frames = [frame.f_locals.get('self') for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [names[module] for module in frames if isinstance(module, nn.Module) and module in names]
    place = f'model.{inside[-1]}' if inside else 'the model'
    return f'{place} fails in a training step: {why(error)}'


def reduced(data: dict) -> dict:
    """Returns a batch of a detector or a segmenter with images and boxes reduced to about 128 pixels.

    Their losses take masks of any size.
    """
    images, samples = data['inputs'], data.get('data_samples') or []
    if max(images.shape[2:]) <= SIDE:
        return data
    height, width = (max(32, round(side * SIDE / max(images.shape[2:]) / 32) * 32) for side in images.shape[2:])
    for sample in samples:
        sample.set_metainfo(dict.fromkeys(('img_shape', 'pad_shape', 'batch_input_shape'), (height, width)))
        if isinstance(boxes := sample.get('gt_instances', {}).get('bboxes'), Tensor):
            sample.gt_instances.bboxes = boxes * (width / images.shape[3])
    return {**data, 'inputs': F.interpolate(images, size=(height, width), mode='area')}
