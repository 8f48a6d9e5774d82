"""Reads the optimizers, schedulers and loaders of a runner."""
from typing import Any

from mmengine.optim import BaseOptimWrapper, OptimWrapperDict
from mmengine.runner import Runner


def batch_size_of(loader: Any) -> int:
    """Returns the batch size of a data loader; ``DataLoader.batch_size`` is None with a custom batch sampler."""
    return loader.batch_sampler.batch_size


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
