"""What turns the configs and samples of each framework into the same: a file per framework, one for all others."""
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING

from .tasks import FRAMEWORKS, TASKS, Task

if TYPE_CHECKING:
    from mmengine.config import Config  # which the help of the command does without


def of(cfg: 'Config') -> SimpleNamespace:
    """Returns the functions for the framework of a config: those of :mod:`.other_scopes`, or its own in their place."""
    names = ['other_scopes', *(name for name in FRAMEWORKS if name == cfg.default_scope)]
    modules = [import_module(f'.{name}', __name__) for name in names]
    return SimpleNamespace(**{name: value for module in modules for name, value in vars(module).items()})


def task_of(cfg: 'Config') -> Task:
    """Returns the task of a config.

    Raises:
        UsageError: If it is not of a framework that this package knows, by whose defaults it is trained and tested.
    """
    for task in TASKS:
        if task.framework == cfg.default_scope:
            return task
    from mmvit_backbones.errors import UsageError  # whose package imports torch
    raise UsageError(f'{cfg.filename} is a config of {cfg.default_scope}, whose models can only be trained and tested; '
                     f'allowed are those of {", ".join(FRAMEWORKS)}')
