"""Checks settings of a config that MMEngine and PyTorch would reject only after the data and the model are built."""
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATA_SAMPLERS,
    HOOKS,
    LOOPS,
    METRICS,
    PARAM_SCHEDULERS,
    VISUALIZERS,
)
from torch import nn
from torch.utils.data import DataLoader

from mmvit_backbones.errors import MMViTError, UsageError, first_line

from ..utils.config_files import LOADERS, SPLITS, metrics_of
from ..utils.frameworks import use_framework

# Integers, and the lowest that can be used; None: any, 0 and less for never.
COUNTS: dict[str, int | None] = {
    'train_cfg.max_epochs': 1, 'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1, 'train_cfg.val_begin': 0,
    **{f'{loader}.batch_size': 1 for loader in LOADERS}, **{f'{loader}.num_workers': 0 for loader in LOADERS},
    'optim_wrapper.accumulative_counts': 1, 'randomness.seed': 0,
    **{f'default_hooks.{hook}.interval': None for hook in ('checkpoint', 'logger', 'visualization')},
    'default_hooks.checkpoint.max_keep_ckpts': None}
WHOLE_FLOATS = 'train_cfg.max_epochs', 'train_cfg.max_iters'  # may be floats such as 12.0
NUMBERS = 'optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay', 'optim_wrapper.optimizer.momentum'
# What a loader has besides the arguments of PyTorch's.
OF_LOADERS = 'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'num_batch_per_epoch'
OF_WRAPPERS = 'constructor', 'paramwise_cfg', 'loss_scale', 'dtype'
STEPS = 10  # of an epoch, for schedulers


def check_settings(cfg: Config) -> None:
    """Raises UsageError if a setting of the loops, loaders, optimizer, schedulers, hooks or metrics cannot be used."""
    for key, low in COUNTS.items():
        value = find(cfg, key)
        if isinstance(value, float) and key in WHOLE_FLOATS and value % 1 == 0:
            value = int(value)
        if value is not None and (type(value) is not int or low is not None and value < low):
            allowed = {1: 'a positive integer', None: 'an integer'}.get(low, f'an integer of at least {low}')
            raise UsageError(f'{key} must be {allowed}, got {value!r}')
    for key in NUMBERS:
        if (value := find(cfg, key)) is not None and type(value) not in (int, float):
            raise UsageError(f'{key} must be a number, got {value!r}')
    use_framework(cfg.default_scope)
    for name in LOADERS:
        if cfg.get(name):
            with named(name):
                loader: dict = {key: value for key, value in cfg[name].items() if key not in OF_LOADERS}
                DataLoader(torch.zeros(1), **loader)  # pyright: ignore[reportArgumentType]  # a data set, too
            for part in 'sampler', 'batch_sampler':
                check_type(f'{name}.{part}', DATA_SAMPLERS, cfg[name].get(part))
    for split in SPLITS:
        check_type(f'{split}_cfg', LOOPS, cfg.get(f'{split}_cfg'))
    check_type('visualizer', VISUALIZERS, cfg.get('visualizer'))
    check_optimization(cfg)
    hooks = {f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items()}
    hooks |= {f'custom_hooks.{i}': hook for i, hook in enumerate(cfg.get('custom_hooks') or ())}
    for name, hook in hooks.items():
        if isinstance(hook, Mapping):
            check_arguments(name, HOOKS, {key: value for key, value in hook.items() if key != 'priority'})
    for split in SPLITS:
        for metric in metrics_of(cfg, split):
            check_arguments(f'{split}_evaluator', METRICS, metric)


def find(cfg: Config, key: str) -> Any:
    """Returns a setting such as ``train_cfg.max_epochs``, or None."""
    node: Any = cfg
    for part in key.split('.'):
        node = node.get(part) if isinstance(node, (Config, Mapping)) else None
    return node


def check_optimization(cfg: Config) -> None:
    """Takes a step of the optimizer on a layer with two weights, and builds the schedulers for it."""
    wrapper = cfg.optim_wrapper
    if wrapper.get('type', 'OptimWrapper') not in ('OptimWrapper', 'AmpOptimWrapper') or 'optimizer' not in wrapper:
        return
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    layer = nn.Linear(1, 1, device=device)
    with named('optim_wrapper'):
        settings = {key: value for key, value in wrapper.to_dict().items() if key not in OF_WRAPPERS}
        optimizer: Any = build_optim_wrapper(layer, dict(settings, type='OptimWrapper', accumulative_counts=1))
        optimizer.update_params(layer(torch.ones(1, 1, device=device)).sum())
    schedulers = cfg.get('param_scheduler') or ()
    for i, scheduler in enumerate([schedulers] if isinstance(schedulers, Mapping) else schedulers):
        if isinstance(scheduler, Mapping) and 'type' in scheduler:
            with named(f'param_scheduler.{i}'):
                end = find(cfg, f'train_cfg.max_{"epochs" if scheduler.get("by_epoch", True) else "iters"}')
                PARAM_SCHEDULERS.build(dict(scheduler), default_args=dict(
                    optimizer=optimizer, epoch_length=STEPS, **(dict(end=end) if end else {})))


def check_arguments(name: str, registry: Any, settings: Mapping) -> None:
    """Raises UsageError if a type is not registered, or does not take the arguments that a config has for it."""
    check_type(name, registry, {'type': None, **settings})
    with named(name):
        signature(type_of(registry, settings['type'])).bind(
            **{key: value for key, value in settings.items() if key not in ('type', '_scope_')})


def check_type(name: str, registry: Any, settings: Any) -> None:
    """Raises UsageError if settings have a type that is not registered."""
    if isinstance(settings, Mapping) and 'type' in settings and type_of(registry, settings['type']) is None:
        raise UsageError(f'{name}.type must be a registered one, got {settings["type"]!r}')


def why(error: Exception) -> str:
    """Returns the first line of an error; without a message, the line of code that raised it."""
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return first_line(error) if str(error) else f'{type(error).__name__} at {line}'


def type_of(registry: Any, kind: Any) -> Any:
    """Returns the class with a name in the framework of the config or in MMEngine, or None."""
    with registry.switch_scope_and_registry(None) as found:
        return found.get(kind) if isinstance(kind, str) else kind


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Replaces an exception by one line that names the setting, and hides warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    except MMViTError:
        raise
    except Exception as error:  # of other libraries
        raise UsageError(f'{setting} cannot be used: {why(error)}') from error
