"""Prints the plan of a training in about ten lines; the config and the environment go into the log file alone."""
import logging
import re
from collections import Counter

from mmengine._strategy import BaseStrategy
from mmengine.dist import get_world_size
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.logging import MMLogger
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from ..zoo.loading import unwrap_model
from .schedule import schedules_of

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
        lines = {**_model_lines(runner), **_data_lines(runner), **_training_lines(runner)}
        runner.logger.info('\n' + '\n'.join(f'{name:>14}: {text}' for name, text in lines.items()))
        steps = runner.max_iters
        for schedule in schedules_of(runner.cfg):
            if not schedule.get('by_epoch', True) and schedule.get('end', 0) > steps:
                runner.logger.warning(
                    f'{schedule["type"]} ends at step {schedule["end"]} of {steps}: the learning rate does not get '
                    'where the schedule leads; a longer run or param_scheduler.NUMBER.end corrects that')


def _model_lines(runner: Runner) -> dict[str, str]:
    model, config = unwrap_model(runner.model), runner.cfg
    backbone = getattr(model, 'backbone', nn.Module())
    total = sum(weight.numel() for weight in model.parameters())
    frozen = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    init = (config.model.get('backbone') or {}).get('init_cfg') or {}
    weights = config.get('load_from') or (init.get('checkpoint') if isinstance(init, dict) else None) or 'random'
    resumed = f', resumed after step {runner.iter}' if config.get('resume') else ''
    return dict(model=f'{type(model).__name__} with {type(backbone).__name__}, {total / 1e6:.1f} M parameters, '
                f'{frozen / 1e6:.1f} M of them frozen', weights=f'{weights}{resumed}')


def _data_lines(runner: Runner) -> dict[str, str]:
    lines = {}
    loaders = {'training data': runner.train_dataloader}
    if runner.val_loop is not None:
        loaders['validation'] = runner.val_dataloader
    for name, loader in loaders.items():
        dataset = loader.dataset
        place = getattr(dataset, 'ann_file', '') or getattr(dataset, 'data_root', '')
        lines[name] = f'{len(dataset)} images' + (f' of {place}' if place else '')
    classes = list((getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}).get('classes') or ())
    if classes:
        more = ', ...' if len(classes) > 5 else ''
        lines['classes'] = f'{len(classes)}: {", ".join(map(str, classes[:5]))}{more}'
    return lines


def _training_lines(runner: Runner) -> dict[str, str]:
    config, loader, processes = runner.cfg, runner.train_dataloader, get_world_size()
    batch_size = getattr(loader.batch_sampler, 'batch_size', None) or loader.batch_size
    epochs = f'{runner.max_epochs} epochs of {len(loader)} steps' if 'max_epochs' in config.train_cfg \
        else f'{runner.max_iters} steps'
    wrapper = config.optim_wrapper
    rates = Counter(group['lr'] for group in runner.optim_wrapper.param_groups)
    optimizer = wrapper.get('optimizer') or {}
    schedule = ', '.join(schedule['type'] for schedule in schedules_of(runner.cfg)) or 'constant'
    is_mixed = wrapper.get('type') == 'AmpOptimWrapper'
    interval = getattr(runner.train_loop, 'val_interval', None)
    unit = 'epoch' if 'max_epochs' in config.train_cfg else 'step'
    early = next((f', stops after {hook.patience} without a better {hook.monitor}' for hook in runner.hooks
                  if isinstance(hook, EarlyStoppingHook)), '')
    return {
        'length': f'{epochs}, {batch_size} images per step' + (f' and process, {processes} processes'
                                                               if processes > 1 else ''),
        'learning rate': f'{optimizer.get("lr", max(rates))} at its peak, {optimizer.get("type", "")}, {schedule}',
        'precision': str(wrapper.get('dtype') or 'float16') if is_mixed else 'float32',
        'device': str(next(runner.model.parameters()).device),
        'evaluation': (f'every {interval} {unit}s{early}' if interval and runner.val_loop is not None else 'none'),
        'work dir': f'{runner.work_dir}, log in {runner.log_dir}',
    }
