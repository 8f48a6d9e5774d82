"""Reads the optimizers, schedulers and loaders of a runner."""
from collections.abc import Sized
from typing import Protocol, runtime_checkable

from mmengine.optim import BaseOptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset


@runtime_checkable
class FixedBatchSize(Protocol):
    """A batch sampler with a fixed batch size; torch's base class does not declare ``batch_size``."""

    batch_size: int


def batch_size_of(loader: DataLoader) -> int:
    """Returns the batch size of a data loader; ``DataLoader.batch_size`` is None with a custom batch sampler."""
    if not isinstance(loader.batch_sampler, FixedBatchSize):
        raise TypeError(f'{type(loader.batch_sampler).__name__} has no batch_size')
    return loader.batch_sampler.batch_size


def num_images(dataset: Dataset) -> int:
    """Returns the length of a data set; torch's base class does not declare ``__len__``."""
    if not isinstance(dataset, Sized):
        raise TypeError(f'{type(dataset).__name__} has no length')
    return len(dataset)


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
