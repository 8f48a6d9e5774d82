"""Checks of a training config that need neither a model nor data."""
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS, Registry

from ..errors import UsageError, first_line
from ..utils.config import schedules_of
from ..utils.text import near_names


def check_optimizer(cfg: Config) -> None:
    """Checks that the optimizer and the schedulers of a config can be built; uses a single dummy parameter.

    Raises:
        UsageError: If the optimizer or a scheduler cannot be built; the message names the config key.
    """
    optimizer = cfg.optim_wrapper.get('optimizer')
    if optimizer is None or cfg.optim_wrapper.get('constructor') and 'type' not in optimizer:
        return  # several optimizers, built by a custom constructor
    built = _build(OPTIMIZERS, optimizer, 'optim_wrapper.optimizer', params=[torch.nn.Parameter(torch.zeros(1))])
    for number, schedule in enumerate(schedules_of(cfg)):
        schedule = {key: value for key, value in schedule.items() if key != 'convert_to_iter_based'}
        _build(PARAM_SCHEDULERS, schedule, f'param_scheduler.{number}', optimizer=OptimWrapper(built))


def _build(registry: Registry, config: dict, name: str, **arguments: object):
    kind = config.get('type')
    if isinstance(kind, str) and registry.get(kind) is None:
        raise UsageError(f'{name}.type {kind} is not registered{near_names(kind, registry.module_dict)}')
    try:
        return registry.build(dict(config, **arguments))
    except Exception as error:  # invalid arguments can raise any exception
        raise UsageError(f'{name}: {first_line(error)}') from error
