"""Prints the plan of a training in about ten lines; the config and the environment go into the log file alone."""
import logging
import re

from mmengine._strategy import BaseStrategy
from mmengine.dist import get_world_size
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import MMLogger
from mmengine.runner import FlexibleRunner, Runner
from torch.utils.data import Dataset

from ..zoo.loading import unwrap_model
from .schedule import schedules_of, unfitting_schedule

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
