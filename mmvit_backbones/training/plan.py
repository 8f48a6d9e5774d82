"""Logs a summary before training starts; until then, the runners log only warnings and errors to the console."""
import logging
import re
from collections.abc import Iterator, Sequence, Sized
from typing import Protocol, runtime_checkable

import torch
from mmengine._strategy import BaseStrategy
from mmengine.dist import get_world_size
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import MMLogger
from mmengine.optim import AmpOptimWrapper, BaseOptimWrapper, OptimWrapperDict
from mmengine.runner import FlexibleRunner, Runner
from torch.utils.data import DataLoader, Dataset

from ..errors import UsageError
from ..utils.config import FOREVER
from ..zoo.loading import unwrap_model

WARM_UPS = {'LinearLR', 'ConstantLR'}
NOISE = re.compile('is skipped since its requires_grad|will be deprecated in future')


class QuietRunner(Runner):
    """Runner that logs only warnings and errors to the console until :class:`SummaryHook` prints the summary."""

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        quieten(logger)
        return logger


class QuietFlexibleRunner(FlexibleRunner):
    """``FlexibleRunner`` that logs like :class:`QuietRunner`."""

    def build_strategy(self, *args, **kwargs) -> BaseStrategy:
        strategy = super().build_strategy(*args, **kwargs)
        quieten(strategy.logger)
        return strategy


def quieten(logger: MMLogger) -> None:
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.addFilter(is_for_console)


def is_for_console(record: logging.LogRecord) -> bool:
    """Returns whether a record is a warning or an error, but not about frozen parameters or deprecations."""
    return record.levelno >= logging.WARNING and not NOISE.search(record.getMessage())


class SummaryHook(Hook):
    """Enables logging to the console and logs a summary before training starts."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        for handler in runner.logger.handlers:
            handler.removeFilter(is_for_console)
        runner.logger.info('\n' + '\n'.join(f'{name:>14}: {text}' for name, text in plan(runner).items()))
        if warning := unfitting_schedule(schedules(runner), runner.max_iters, len(runner.train_dataloader)):
            runner.logger.warning(warning)
        if oddities := list(unusual(runner)):
            runner.logger.warning(f'is this intended? {"; ".join(oddities)}')


def check_batches(runner: Runner | FlexibleRunner) -> None:
    """Raises UsageError if an epoch has no batch. Called before training, where MMEngine's schedulers would fail."""
    loader = runner.train_dataloader
    if not len(loader):
        images = num_images(loader.dataset) // get_world_size()
        raise UsageError(f'--batch-size must be at most {images}, the number of training images per process, because '
                         f'this config drops incomplete batches; got {batch_size_of(loader)}')


def plan(runner: Runner) -> dict[str, str]:
    """Returns the lines of the summary, keyed by title."""
    cfg, model, loader, processes = runner.cfg, unwrap_model(runner.model), runner.train_dataloader, get_world_size()
    total = sum(weight.numel() for weight in model.parameters())
    frozen = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    init = (cfg.model.get('backbone') or {}).get('init_cfg') or {}
    weights = cfg.get('load_from') or (init.get('checkpoint') if isinstance(init, dict) else None) or 'random'
    classes = [str(name) for name in (getattr(loader.dataset, 'metainfo', None) or {}).get('classes') or ()]
    by_epoch = 'max_epochs' in cfg.train_cfg
    length = f'{runner.max_epochs} epochs of {len(loader)} steps' if by_epoch else f'{runner.max_iters} steps'
    each = f' and process, {processes} processes' if processes > 1 else ''
    backbone = getattr(model, 'backbone', None)
    name = type(model).__name__ + (f' with {type(backbone).__name__}' if backbone is not None else '')
    lines = {
        'model': f'{name}, {total / 1e6:.1f} M parameters, {frozen / 1e6:.1f} M of them frozen',
        'weights': weights + (f', resumed after step {runner.iter}' if cfg.get('resume') else ''),
        'training data': describe(loader.dataset),
        'classes': f'{len(classes) or "unknown"}: {", ".join(classes[:5])}{", ..." if len(classes) > 5 else ""}',
        'length': f'{length}, {batch_size_of(loader)} images per step{each}',
        'learning rate': learning_rates(runner),
        'precision': precision(runner),
        'device': str(next(model.parameters()).device),
        'work dir': f'{runner.work_dir}, log in {runner.log_dir}',
    }
    if runner.val_loop is not None:
        interval = f'{runner.val_interval} {"epochs" if by_epoch else "steps"}'
        lines['validation'] = f'{describe(runner.val_dataloader.dataset)}, every {interval}'
    for hook in (hook for hook in runner.hooks if isinstance(hook, EarlyStoppingHook)):
        lines['early stop'] = f'after {hook.patience} validations without a better {hook.monitor}'
    return lines


def unusual(runner: Runner) -> Iterator[str]:
    """Yields a text for each unusual setting: a single step, a batch larger than the data set, a single class."""
    loader = runner.train_dataloader
    images, per_step = num_images(loader.dataset), batch_size_of(loader) * get_world_size()
    if runner.max_iters == 1:
        yield 'training has a single step'
    if per_step > images:
        yield f'a step takes {per_step} images, but the data set has only {images}'
    classes = (getattr(loader.dataset, 'metainfo', None) or {}).get('classes') or ()
    if len(classes) == 1:
        yield f'the only class is {classes[0]}'


def describe(dataset: Dataset) -> str:
    place = getattr(dataset, 'ann_file', '') or getattr(dataset, 'data_root', '')
    return f'{num_images(dataset)} images' + (f' from {place}' if place else '')


def num_images(dataset: Dataset) -> int:
    """Returns the length of a data set; torch's base class does not declare ``__len__``."""
    if not isinstance(dataset, Sized):
        raise TypeError(f'{type(dataset).__name__} has no length')
    return len(dataset)


@runtime_checkable
class FixedBatchSize(Protocol):
    """A batch sampler with a fixed batch size; torch's base class does not declare ``batch_size``."""

    batch_size: int


def batch_size_of(loader: DataLoader) -> int:
    """Returns the batch size of a data loader; ``DataLoader.batch_size`` is None with a custom batch sampler."""
    if not isinstance(loader.batch_sampler, FixedBatchSize):
        raise TypeError(f'{type(loader.batch_sampler).__name__} has no batch_size')
    return loader.batch_sampler.batch_size


def learning_rates(runner: Runner) -> str:
    """Describes the current and the peak learning rates, the optimizers and the schedulers."""
    groups = [group for wrapper in optim_wrappers(runner) for group in wrapper.optimizer.param_groups]
    now, peak = (sorted({group.get(key, group['lr']) for group in groups}) for key in ('lr', 'initial_lr'))
    parts = [f'{_from_to(peak)} at {"their" if len(peak) > 1 else "its"} peak']
    if runner.iter:
        parts.append(f'{_from_to(now)} now')
    parts += sorted({type(wrapper.optimizer).__name__ for wrapper in optim_wrappers(runner)})
    return ', '.join([*parts, *(map(_describe_schedule, schedules(runner)) if schedules(runner) else ['constant'])])


def precision(runner: Runner) -> str:
    wrapper, *_ = optim_wrappers(runner)
    if not isinstance(wrapper, AmpOptimWrapper):
        return 'float32'
    return str(wrapper.cast_dtype or torch.float16).removeprefix('torch.')


def _from_to(rates: list[float]) -> str:
    return f'{rates[0]:.4g}' + (f' to {rates[-1]:.4g}' if len(rates) > 1 else '')


def optim_wrappers(runner: Runner) -> list[BaseOptimWrapper]:
    """Returns the wrapper of each optimizer; the list is empty until the optimizers are built."""
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict):
        return list(wrapper.values())
    return [wrapper] if isinstance(wrapper, BaseOptimWrapper) else []


def schedules(runner: Runner) -> list:
    """Returns the parameter schedulers of all optimizers; the list is empty until the schedulers are built."""
    found = runner.param_schedulers
    if isinstance(found, dict):
        return [schedule for part in found.values() for schedule in part]
    return list(found) if isinstance(found, list) else []


def _describe_schedule(schedule) -> str:
    unit = 'epoch' if schedule.by_epoch else 'step'
    end = f' to {unit} {schedule.end}' if schedule.end < FOREVER else ''
    return f'{type(schedule).__name__} from {unit} {schedule.begin}{end}'


def unfitting_schedule(schedules: Sequence, steps: int, steps_per_epoch: int) -> str | None:
    """Returns a warning if the learning rate schedule is longer than ``steps`` steps, or much shorter.

    There is no warning for a schedule with only a warm-up, after which the learning rate is meant to stay constant.
    """
    ends = [schedule.end * (steps_per_epoch if schedule.by_epoch else 1) if schedule.end < FOREVER else steps
            for schedule in schedules]
    last = max(ends, default=steps)
    if last <= steps and (last >= 0.9 * steps or {type(schedule).__name__ for schedule in schedules} <= WARM_UPS):
        return None
    return (f'the learning rate schedule has {last} steps, but training has {steps}; '
            'scale param_scheduler with the length of training')
