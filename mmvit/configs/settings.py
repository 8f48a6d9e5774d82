"""Checks settings that MMEngine, PyTorch and log backends would reject late, before the data of a run are read."""
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from math import inf
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim import CosineAnnealingParamScheduler, OneCycleParamScheduler, PolyParamScheduler

from mmvit_backbones.engine import CompileHook
from mmvit_backbones.errors import MMViTError, UsageError, first_line
from mmvit_backbones.utils.file_access import FULL
from mmvit_backbones.utils.openmmlab_models import log_from

from ..utils.distributed import warn
from ..utils.frameworks import use_framework
from .files import LOADERS, SPLITS

# Integers, and the lowest that can be used; None: any, 0 and less for never.
COUNTS: dict[str, int | None] = {
    'train_cfg.max_epochs': 1, 'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1, 'train_cfg.val_begin': 0,
    **{f'{loader}.batch_size': 1 for loader in LOADERS}, **{f'{loader}.num_workers': 0 for loader in LOADERS},
    'optim_wrapper.accumulative_counts': 1, 'randomness.seed': 0,
    **{f'default_hooks.{hook}.interval': None for hook in ('checkpoint', 'logger', 'visualization')},
    'default_hooks.checkpoint.max_keep_ckpts': None}
WHOLE_FLOATS = 'train_cfg.max_epochs', 'train_cfg.max_iters'  # may be floats such as 12.0
NUMBERS = 'optim_wrapper.clip_grad.max_norm', 'optim_wrapper.clip_grad.clip_value'  # which PyTorch needs after a step
# Parts of a run, apart from its model, and the registries of their types.
PARTS: dict[str, registry.Registry] = {
    **{f'{split}_cfg': registry.LOOPS for split in SPLITS},
    **{f'{loader}.dataset': registry.DATASETS for loader in LOADERS},
    **{f'{loader}.{part}': registry.DATA_SAMPLERS for loader in LOADERS for part in ('sampler', 'batch_sampler')},
    **{f'{split}_evaluator': registry.METRICS for split in SPLITS},
    'optim_wrapper': registry.OPTIM_WRAPPERS, 'optim_wrapper.optimizer': registry.OPTIMIZERS,
    'param_scheduler': registry.PARAM_SCHEDULERS, 'default_hooks': registry.HOOKS, 'custom_hooks': registry.HOOKS,
    'visualizer': registry.VISUALIZERS, 'visualizer.vis_backends': registry.VISBACKENDS,
    'log_processor': registry.LOG_PROCESSORS, 'strategy': registry.STRATEGIES}
# Packages of log backends, which MMEngine imports at the first use; one of them is enough.
PACKAGES = dict(
    TensorboardVisBackend=('tensorboard', 'tensorboardX'), WandbVisBackend=('wandb', ), MLflowVisBackend=('mlflow', ),
    ClearMLVisBackend=('clearml', ), NeptuneVisBackend=('neptune', ), DVCLiveVisBackend=('dvclive', ),
    AimVisBackend=('aim', ))
MONITORS = {CheckpointHook: 'save_best', EarlyStoppingHook: 'monitor'}  # where hooks name metrics
DECAYING = CosineAnnealingParamScheduler, OneCycleParamScheduler, PolyParamScheduler
LEAST_DECAY = 0.9  # share of the training after which they may end


def check_settings(cfg: Config) -> None:
    """Raises UsageError if a number, a type, a metric's name or a log backend of a config cannot be used."""
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
    import_parts(cfg)
    with log_from(logging.CRITICAL):
        for place in PARTS:
            for name, settings in typed(place, find(cfg, place)):
                found = type_of(PARTS[place], settings)
                check_type(name, found, settings['type'])
                if found is CompileHook:
                    check_compiled(cfg, name)
        check_monitored(cfg)


def check_compiled(cfg: Config, name: str) -> None:
    """Raises UsageError if a config with CompileHook has nothing that it compiles, or MMEngine compiles, too."""
    if whole := cfg.get('compile'):
        raise UsageError(f'{name}: CompileHook (--compile) compiles the backbone, and compile={whole} the whole step; '
                         'remove one of them')
    if not find(cfg, 'model.backbone'):
        raise UsageError(f'{name}: CompileHook (--compile) needs a model with a backbone, got model.type='
                         f'{find(cfg, "model.type")}')


def check_monitored(cfg: Config) -> None:
    """Raises UsageError if a hook waits for a metric that begins with no prefix of the validation's metrics."""
    prefixes = [metric.get('prefix') or getattr(type_of(registry.METRICS, metric), 'default_prefix', None)
                for _, metric in typed('val_evaluator', cfg.get('val_evaluator'))]
    if not prefixes or None in prefixes:
        return
    for name, hook in (*typed('default_hooks', cfg.get('default_hooks')),
                       *typed('custom_hooks', cfg.get('custom_hooks'))):
        kind = type_of(registry.HOOKS, hook)
        key = next((key for base, key in MONITORS.items() if issubclass(kind, base)), '')
        names = hook.get(key) or ()
        for metric in [names] if isinstance(names, str) else names:
            if metric != 'auto' and metric.partition('/')[0] not in prefixes:
                raise UsageError(f'{name}.{key} must be auto or one of '
                                 f'{", ".join(f"{prefix}/..." for prefix in prefixes)}, got {metric!r}')


def check_schedule(cfg: Config, epoch_length: int) -> None:
    """Warns if the last schedule decays and ends before 90 % of the training, whose rest has its lowest rate, often 0.

    Args:
        cfg (Config): The config.
        epoch_length (int): Number of steps per epoch.
    """
    epochs, ends = find(cfg, 'train_cfg.max_epochs'), []
    steps = epochs * epoch_length if epochs else find(cfg, 'train_cfg.max_iters')
    for name, schedule in typed('param_scheduler', cfg.get('param_scheduler')):
        length = epochs if schedule.get('by_epoch', True) else steps
        decay = min(schedule.get(key) or inf for key in ('T_max', 'total_steps'))
        end = min(schedule.get('end') or inf, schedule.get('begin', 0) + decay)
        ends.append((end / length if length else 0, name, type_of(registry.PARAM_SCHEDULERS, schedule)))
    share, name, last = max(ends, key=lambda end: end[0], default=(0, '', object))
    if 0 < share < LEAST_DECAY and issubclass(last, DECAYING):
        warn(f'{name}: {last.__name__} ends after {share:.0%} of the training, and the rest has its lowest rate; set '
             'its end and T_max to the length of the training')


def check_type(name: str, found: Any, given: Any) -> None:
    """Raises UsageError if nothing was found for the type of a part, or what its class needs is not installed."""
    if not callable(found):
        raise UsageError(f'{name}.type must be a registered one, got {given!r}')
    for base in getattr(found, '__mro__', ()):
        packages = PACKAGES.get(base.__name__, ())
        if packages and not any(map(find_spec, packages)):
            raise UsageError(f'{name}: {base.__name__} needs the package {packages[0]}: pip install {packages[0]}')


def import_parts(cfg: Config) -> None:
    """Imports what registers the types of a config, and lets its names mean those of its framework."""
    use_framework(cfg.default_scope)


def find(cfg: Config, key: str) -> Any:
    """Returns a setting such as ``train_cfg.max_epochs``, or None."""
    node: Any = cfg
    for part in key.split('.'):
        node = node.get(part) if isinstance(node, (Config, Mapping)) else None
    return node


def typed(name: str, settings: Any) -> Iterator[tuple[str, Mapping]]:
    """Yields the dicts with a type in a part of a config, and their names; a wrapper without a type is MMEngine's."""
    if isinstance(settings, Mapping) and 'type' in settings:
        yield name, settings
    elif isinstance(settings, (Mapping, list, tuple)) and name != 'optim_wrapper':
        for key, value in settings.items() if isinstance(settings, Mapping) else enumerate(settings):
            yield from typed(f'{name}.{key}', value)


def type_of(known: registry.Registry, settings: Mapping) -> Any:
    """Returns the class of a part in the framework of the config or in MMEngine, or by its dotted name; else None."""
    kind = settings['type']
    if known is registry.METRICS and 'metrics' in settings:
        known = registry.EVALUATOR
    with named(f'type {kind!r}'), known.switch_scope_and_registry(settings.get('_scope_')) as found:
        return found.get(kind) if isinstance(kind, str) else kind


@contextmanager
def named(setting: str) -> Iterator[None]:
    """Replaces an exception of other libraries by one line that names the setting."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MMViTError) or isinstance(error, OSError) and error.errno in FULL:
            raise
        raise UsageError(f'{setting} cannot be used: {why(error)}') from error


def why(error: Exception) -> str:
    """Returns the first line of an error; without a message, the line of code that raised it."""
    line = traceback.extract_tb(error.__traceback__)[-1].line
    return first_line(error) if str(error) else f'{type(error).__name__} at {line}'
