"""Checks settings that MMEngine and PyTorch take without a word, or reject after steps, before a run begins."""
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import inf
from typing import Any

from mmengine.config import Config
from mmengine.optim import CosineAnnealingParamScheduler, OneCycleParamScheduler, PolyParamScheduler

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils.openmmlab_models import type_name

from ..utils.config_parts import find
from ..utils.distributed import warn

# Integers, and the lowest that can be used; None: any, 0 and less for never.
COUNTS: dict[str, int | None] = {
    'train_cfg.max_epochs': 1, 'train_cfg.max_iters': 1, 'train_cfg.val_interval': 1, 'train_cfg.val_begin': 0,
    **{f'default_hooks.{hook}.interval': None for hook in ('checkpoint', 'logger', 'visualization')},
    'default_hooks.checkpoint.max_keep_ckpts': None}
WHOLE_FLOATS = 'train_cfg.max_epochs', 'train_cfg.max_iters'  # may be floats such as 12.0
NUMBERS = 'optim_wrapper.clip_grad.max_norm', 'optim_wrapper.clip_grad.clip_value'  # which PyTorch needs after a step
# Log backends that track trainings, and their packages, which MMEngine imports at the first use; one of them is enough.
TRACKERS = dict(
    TensorboardVisBackend=('tensorboard', 'tensorboardX'), WandbVisBackend=('wandb', ), MLflowVisBackend=('mlflow', ),
    ClearMLVisBackend=('clearml', ), NeptuneVisBackend=('neptune', ), DVCLiveVisBackend=('dvclive', ),
    AimVisBackend=('aim', ))
DECAYING = CosineAnnealingParamScheduler, OneCycleParamScheduler, PolyParamScheduler
LEAST_DECAY = 0.9  # share of the training after which they may end


def check_settings(cfg: Config) -> None:
    """Raises UsageError if a number of a config cannot be used, a log backend is missing, or two parts compile."""
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
    for number, backend in enumerate(find(cfg, 'visualizer.vis_backends') or ()):
        packages = TRACKERS.get(type_name(backend), ())
        if packages and not any(map(find_spec, packages)):
            raise UsageError(f'visualizer.vis_backends.{number}: {type_name(backend)} needs the package {packages[0]}: '
                             f'pip install {packages[0]}')
    for number, hook in enumerate(cfg.get('custom_hooks') or ()):
        if isinstance(hook, Mapping) and type_name(hook) == 'CompileHook':
            check_compiled(cfg, f'custom_hooks.{number}')


def check_compiled(cfg: Config, name: str) -> None:
    """Raises UsageError if a config with CompileHook has nothing that it compiles, or MMEngine compiles, too."""
    if whole := cfg.get('compile'):
        raise UsageError(f'{name}: CompileHook (--compile) compiles the backbone, and compile={whole} the whole step; '
                         'remove one of them')
    if not find(cfg, 'model.backbone'):
        raise UsageError(f'{name}: CompileHook (--compile) needs a model with a backbone, got model.type='
                         f'{find(cfg, "model.type")}')


def check_schedule(schedulers: Sequence[Any], epochs: float, steps: float) -> None:
    """Warns if the last schedule decays and ends before 90 % of the training, whose rest has its lowest rate, often 0.

    Args:
        schedulers (Sequence): MMEngine's schedulers.
        epochs, steps (float): Length of the training.
    """
    ends = []
    for number, each in enumerate(schedulers):
        decay = min(getattr(each, name, None) or inf for name in ('T_max', 'total_steps'))
        ends.append((min(each.end, each.begin + decay) / (epochs if each.by_epoch else steps), number))
    share, number = max(ends, key=lambda end: end[0], default=(0, 0))
    if 0 < share < LEAST_DECAY and isinstance(schedulers[number], DECAYING):
        warn(f'param_scheduler.{number}: {type(schedulers[number]).__name__} ends after {share:.0%} of the training, '
             'and the rest has its lowest rate; set its end and T_max to the length of the training')
