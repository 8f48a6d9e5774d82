"""What configs of runs name: hooks, optimizer constructors and a file backend; importing this package registers them.

``strategies`` are imported by the configs that name one.
"""
from . import atomic  # noqa: F401  registers the file backend
from .hooks import (
    ExactResumeHook,
    FiniteLossHook,
    FrozenBackboneHook,
    InterruptHook,
    OwnFilesHook,
    ResumableEarlyStoppingHook,
    TerminalHook,
)
from .optimizers import LayerDecayConstructor, weight_decay_cfg

__all__ = ['ExactResumeHook', 'FiniteLossHook', 'FrozenBackboneHook', 'InterruptHook',
           'LayerDecayConstructor', 'OwnFilesHook', 'ResumableEarlyStoppingHook', 'TerminalHook', 'weight_decay_cfg']
