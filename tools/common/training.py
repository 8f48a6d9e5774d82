"""Adds to a run of tools/train.py its plan in ten lines, quiet runners, sharding, and explained errors."""
import errno
import logging
import os
import os.path as osp
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine._strategy import BaseStrategy
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmengine.runner import FlexibleRunner, Runner
from torch.utils.data import Dataset

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.errors import TrainingError, UnreadableSampleError, UsageError, first_line
from mmvit_backbones.utils import versions
from mmvit_backbones.zoo.loading import unwrap_model

from .measure import count
from .schedule import schedules_of, unfitting_schedule


def use_sharding(cfg: Config) -> None:
    """Shards weights and optimizer states over the processes (:class:`ShardedStrategy`)."""
    if cfg.launcher == 'none':
        raise UsageError('--strategy fsdp needs several processes: use tools/dist_train.sh or tools/slurm_train.sh')
    if any(hook.get('type') == 'EMAHook' for hook in cfg.get('custom_hooks') or ()):
        raise UsageError('--strategy fsdp cannot average weights: remove EMAHook from custom_hooks')
    cfg.strategy = dict(type='ShardedStrategy')


# ---- the plan of a run

NOISE = re.compile('is skipped since its requires_grad|will be deprecated in future')


class QuietRunner(Runner):
    """MMEngine's runner, whose console shows warnings and errors alone until :class:`SummaryHook` has printed."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        quieten(logger)
        return logger


class QuietFlexibleRunner(FlexibleRunner):
    """The same for MMEngine's runner of strategies."""

    def build_strategy(self, *args, **kwargs) -> BaseStrategy:
        strategy = super().build_strategy(*args, **kwargs)
        quieten(strategy.logger)
        return strategy


def quieten(logger: MMLogger) -> None:
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(is_for_console)


def is_for_console(record: logging.LogRecord) -> bool:
    """Returns whether a message of the start is a warning, other than those on every frozen parameter."""
    return record.levelno >= logging.WARNING and not NOISE.search(record.getMessage())


class SummaryHook(Hook):
    """Prints the plan of a training, and lets the console show the log."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        for handler in runner.logger.handlers:
            handler.removeFilter(is_for_console)
        runner.logger.info('\n' + '\n'.join(f'{name:>14}: {text}' for name, text in plan(runner).items()))
        if warning := unfitting_schedule(runner.cfg, runner.max_iters, len(runner.train_dataloader)):
            runner.logger.warning(warning)


def plan(runner: Runner) -> dict[str, str]:
    """Returns the lines on a training, by their titles."""
    cfg, model, loader, processes = runner.cfg, unwrap_model(runner.model), runner.train_dataloader, get_world_size()
    total = sum(weight.numel() for weight in model.parameters())
    frozen = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    init = (cfg.model.get('backbone') or {}).get('init_cfg') or {}
    weights = cfg.get('load_from') or (init.get('checkpoint') if isinstance(init, dict) else None) or 'random'
    classes = [str(name) for name in (getattr(loader.dataset, 'metainfo', None) or {}).get('classes') or ()]
    by_epoch = 'max_epochs' in cfg.train_cfg
    length = f'{runner.max_epochs} epochs of {len(loader)} steps' if by_epoch else f'{runner.max_iters} steps'
    each = f' and process, {processes} processes' if processes > 1 else ''
    optimizer, is_mixed = cfg.optim_wrapper.get('optimizer') or {}, cfg.optim_wrapper.get('type') == 'AmpOptimWrapper'
    schedule = ', '.join(schedule['type'] for schedule in schedules_of(cfg)) or 'constant'
    lines = {
        'model': f'{type(model).__name__} with {type(getattr(model, "backbone", None)).__name__}, {total / 1e6:.1f} M '
                 f'parameters, {frozen / 1e6:.1f} M of them frozen',
        'weights': weights + (f', resumed after step {runner.iter}' if cfg.get('resume') else ''),
        'training data': describe(loader.dataset),
        'classes': f'{len(classes) or "unknown"}: {", ".join(classes[:5])}{", ..." if len(classes) > 5 else ""}',
        'length': f'{length}, {loader.batch_sampler.batch_size} images per step{each}',
        'learning rate': f'{optimizer.get("lr")} at its peak, {optimizer.get("type")}, {schedule}',
        'precision': str(cfg.optim_wrapper.get('dtype') or 'float16') if is_mixed else 'float32',
        'device': str(next(model.parameters()).device),
        'work dir': f'{runner.work_dir}, log in {runner.log_dir}',
    }
    if runner.val_loop is not None:
        interval = f'{runner.train_loop.val_interval} {"epochs" if by_epoch else "steps"}'
        lines['validation'] = f'{describe(runner.val_dataloader.dataset)}, every {interval}'
    for hook in (hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)):
        lines['early stop'] = f'after {hook.patience} validations without a better {hook.monitor}'
    return lines


def describe(dataset: Dataset) -> str:
    place = getattr(dataset, 'ann_file', '') or getattr(dataset, 'data_root', '')
    return f'{len(dataset)} images' + (f' of {place}' if place else '')


# ---- errors, with their remedies


@contextmanager
def explained_errors(runner: Runner) -> Iterator[None]:
    """Adds the remedies to errors for unreadable samples, and for lack of memory, of disk space or of the work dir."""
    images = _ImagesHook()
    runner.register_hook(images)
    try:
        yield
    except UnreadableSampleError as error:
        raise TrainingError(f'{error}: --on-bad-data skip --max-skipped N') from error
    except (RuntimeError, MemoryError) as error:
        is_shortage = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
        if not is_shortage and 'DefaultCPUAllocator' not in str(error):
            raise
        raise TrainingError(f'out of memory: {_describe(runner, images)} ({first_line(error)})') from error
    except OSError as error:
        folder = osp.dirname(str(error.filename))
        is_ours = osp.abspath(folder).startswith(osp.abspath(runner.work_dir))
        if isinstance(error, FileNotFoundError) and is_ours and not osp.isdir(folder):
            raise TrainingError(f'{folder} was removed during the training; resuming needs a checkpoint in '
                                f'{runner.work_dir}') from error
        if error.errno == errno.ENOSPC:
            raise TrainingError(f'{error.filename or runner.work_dir} cannot be written: {error.strerror}') from error
        raise


class _ImagesHook(Hook):
    """Stores the number of images of the current batch, and the largest height and width."""

    priority = 'VERY_HIGH'
    batch, size = 0, (0, 0)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        images = data_batch.get('inputs', ()) if isinstance(data_batch, dict) else ()
        if len(images):
            self.batch, self.size = len(images), tuple(max(x.shape[axis] for x in images) for axis in (-2, -1))


def _describe(runner: Runner, images: _ImagesHook) -> str:
    model = unwrap_model(runner.model)
    backbone = getattr(model, 'backbone', None)
    name = type(backbone or model).__name__
    if not images.batch:
        return f'{name}, before the first batch'
    what = f'{name} on {images.batch} images of {images.size[0]} x {images.size[1]}'
    if isinstance(backbone, Backbone) and not versions.why_not('counting a recomputed step'):
        room, config = _memory(), dict(runner.cfg.model.backbone)
        plain, recomputed = (room // _per_image({**config, 'with_cp': with_cp}, images.size)
                             for with_cp in (bool(config.get('with_cp')), True))
        what += (f'. Counted for the backbone alone, {room / 2**30:.1f} GiB hold at most {plain} images, or '
                 f'{recomputed} with model.backbone.with_cp=True, and fewer for head, weights and optimizer')
    return f'{what}; try a smaller --batch-size, model.backbone.with_cp=True, or --amp, which helps on a GPU'


def _per_image(config: dict, size: tuple[int, int]) -> int:
    """Returns the peak memory of a training step of the backbone in bytes, as ``tools/analysis/count_traffic.py``."""
    with torch.device('meta'):
        backbone = MODELS.build({**config, 'init_cfg': None})
        return count(backbone, torch.empty(1, backbone.in_channels, *size))['step']['peak']


def _memory() -> int:
    """Returns the memory limit of the process in bytes."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[1]
    limits = [resource.getrlimit(limit)[0] for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min([os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'),
                *(limit for limit in limits if limit != resource.RLIM_INFINITY)])
