"""Builds the parts of a training before it starts, and computes a loss for ``mmvit train --check``."""
import logging
import traceback
import warnings
from collections.abc import Sequence
from copy import deepcopy
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapperDict
from mmengine.registry import EVALUATOR, HOOKS, LOG_PROCESSORS, PARAM_SCHEDULERS, VISUALIZERS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmvit_backbones.errors import MMViTError, UsageError
from mmvit_backbones.utils.classes import classes_of, shown
from mmvit_backbones.utils.openmmlab_models import log_from
from mmvit_backbones.zoo.loading import read_state

from ..configs.settings import check_schedule, find, import_parts, named, typed, why
from ..utils.frameworks import build_model, quiet
from .checkpoints import check_start
from .one_step import OneStep
from .strides import checked_strides

EPOCH_LENGTH = 1000  # steps per epoch while the data are unknown
SIDE = 128  # pixels of the longer side of the images


def build_parts(cfg: Config) -> None:
    """Builds the model, optimizer, schedules, hooks and logs of a training, without data, weights and files.

    Raises:
        UsageError: If a part cannot be built; the message names the setting.
    """
    import_parts(cfg)
    with warnings.catch_warnings(), log_from(logging.CRITICAL), TemporaryDirectory() as folder:
        warnings.simplefilter('ignore')
        with named('model'), torch.no_grad():
            try:
                with torch.device('meta'):
                    model = build_model(deepcopy(cfg))
            except (RuntimeError, NotImplementedError):  # such as mmdet's Swin, which reads values of tensors
                model = build_model(deepcopy(cfg))
        optimizer = OneStep(model, cfg.optim_wrapper, next(model.parameters()).device).optimizer
        for name, schedule in typed('param_scheduler', cfg.get('param_scheduler')):
            end = find(cfg, f'train_cfg.max_{"epochs" if schedule.get("by_epoch", True) else "iters"}')
            if not isinstance(optimizer, OptimWrapperDict):
                with named(name):
                    PARAM_SCHEDULERS.build({**({'end': end} if end else {}), **schedule}, default_args=dict(
                        optimizer=optimizer, epoch_length=EPOCH_LENGTH))
        with named('visualizer'):  # which some hooks need; without a backend, it writes nothing
            own = dict(name=folder, vis_backends=None, save_dir=folder)
            VISUALIZERS.build({'type': 'Visualizer', **(cfg.get('visualizer') or {}), **own})
        with named('log_processor'):
            LOG_PROCESSORS.build({'type': 'LogProcessor', **(cfg.get('log_processor') or {})})
        for place in 'default_hooks', 'custom_hooks':
            for name, hook in typed(place, cfg.get(place)):
                with named(name):
                    HOOKS.build({key: value for key, value in hook.items() if key != 'priority'})


def rehearse(cfg: Config) -> None:
    """Builds data sets and metrics of a training, whose other parts fit, and computes one loss.

    All is done on the CPU, with images reduced to about 128 pixels. There is no runner, so that nothing is written.

    Raises:
        UsageError: If a part cannot be built, or the model fails; the message names the setting, or the layer.
        CheckpointError: If the checkpoint to start from does not fit.
    """
    import_parts(cfg)
    with warnings.catch_warnings(), log_from(logging.CRITICAL):
        warnings.simplefilter('ignore')
        train, *_ = [first_sample(cfg, split) for split in ('train', 'val') if cfg.get(f'{split}_dataloader')]
        if not len(train.dataset):  # pyright: ignore[reportArgumentType]  # a data set of MMEngine has a length
            raise UsageError('train_dataloader.dataset is empty; filter_cfg may have removed all images')
        check_schedule(cfg, len(train))
        with named('model'):
            model = build_model(deepcopy(cfg))
        if evaluator := cfg.get('val_evaluator'):
            with named('val_evaluator'), quiet():
                is_own = isinstance(evaluator, dict) and 'metrics' in evaluator
                EVALUATOR.build({'type': 'Evaluator', **evaluator}) if is_own else Evaluator(evaluator)
        resumes = bool(cfg.get('resume'))
        path = cfg.get('load_from') or (find_latest_checkpoint(cfg.work_dir) if resumes else None)
        if path:
            check_start(model, read_state(path), path, resumes, train.dataset)
        check_heads(model, train.dataset)
        check_step(cfg, OneStep(model, cfg.optim_wrapper), train)


def first_sample(cfg: Config, split: str) -> DataLoader:
    """Returns the loader of a split after reading the first sample, if there is one."""
    with named(f'{split}_dataloader'), quiet():  # pycocotools prints its steps
        loader = Runner.build_dataloader(cfg[f'{split}_dataloader'], seed=0)
        if len(loader.dataset):  # pyright: ignore[reportArgumentType]
            loader.dataset[0]
    return loader


def check_heads(model: nn.Module, dataset: Any) -> None:
    """Raises UsageError if a head has fewer classes than the data, but more than one, such as objectness."""
    names = classes_of(getattr(dataset, 'metainfo', None))
    for name, module in model.named_modules():
        count = getattr(module, 'num_classes', None)
        if name and isinstance(count, int) and 1 < count < len(names):
            raise UsageError(f'model.{name}.num_classes is {count}, but the training data have {len(names)} classes: '
                             f'{shown(names)}')


def check_step(cfg: Config, step: OneStep, loader: DataLoader) -> None:
    """Computes the loss of a training sample."""
    with named('train_dataloader'):
        batch = loader.collate_fn([loader.dataset[0]] * 2)
    given: list[tuple[str, list[int]]] = []
    for name in 'backbone', 'neck':
        if name == 'backbone' or find(cfg, 'model.neck.in_channels'):  # else the neck keeps the backbone's
            module = getattr(step.model, name, nn.Identity())
            module.register_forward_hook(lambda *called, name=name: given.append((name, channels_of(called[-1]))))
    try:
        data = reduced(step.prepared(batch))
        with torch.no_grad(), checked_strides(step.model, data['inputs'].shape[2:]):
            step.losses(data)
    except MMViTError:
        raise
    except Exception as error:  # models can fail in any way
        raise UsageError(explain(cfg, step.model, error, given)) from error


def channels_of(maps: Any) -> list[int]:
    """Returns the numbers of channels of maps ``(B, C, ...)``."""
    return [x.shape[1] for x in (maps if isinstance(maps, (list, tuple)) else [maps]) if isinstance(x, Tensor)]


def explain(cfg: Config, model: nn.Module, error: Exception, given: Sequence[tuple[str, list[int]]]) -> str:
    """Returns a line about the layer in which a model failed, or about channels that a neck or a head does not take.

    Args:
        cfg (Config): The config of the model.
        model (nn.Module): The model.
        error (Exception): Its error.
        given (Sequence[tuple]): The parts that have returned maps, and the channels of these.
    """
    names = {module: name for name, module in model.named_modules() if name}
    frames = [frame.f_locals.get('self') for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [names[module] for module in frames if isinstance(module, nn.Module) and module in names]
    place = f'model.{inside[-1]}' if inside else 'the model'
    source, channels = given[-1] if given else ('', [])
    for part in inside:
        taken, index = (find(cfg, f'model.{part}.{key}') for key in ('in_channels', 'in_index'))
        used = [channels[i] for i in index if i < len(channels)] if isinstance(index, list) else channels
        if taken and channels and (list(taken) != used if isinstance(taken, list) else taken not in channels):
            return (f'model.{part}.in_channels is {taken}, but the {source} gives maps of '
                    f'{", ".join(map(str, channels))} channels ({place}: {why(error)})')
    return f'{place} fails in a training step: {why(error)}'


def reduced(data: dict) -> dict:
    """Returns a batch of a detector or a segmenter with images and boxes reduced to about 128 pixels.

    Their losses take masks of any size. Classifiers may require their image size.
    """
    images, samples = data['inputs'], data.get('data_samples') or []
    is_dense = any('gt_instances' in sample or 'gt_sem_seg' in sample for sample in samples)
    if not is_dense or max(images.shape[2:]) <= SIDE:
        return data
    height, width = (max(32, round(side * SIDE / max(images.shape[2:]) / 32) * 32) for side in images.shape[2:])
    for sample in samples:
        sample.set_metainfo(dict.fromkeys(('img_shape', 'pad_shape', 'batch_input_shape'), (height, width)))
        if isinstance(boxes := sample.get('gt_instances', {}).get('bboxes'), Tensor):
            sample.gt_instances.bboxes = boxes * (width / images.shape[3])
    return {**data, 'inputs': F.interpolate(images, size=(height, width), mode='area')}
