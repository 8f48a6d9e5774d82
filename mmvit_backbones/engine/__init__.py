"""Hooks, optimizer constructors and a file backend; importing this package registers them."""
from . import atomic  # noqa: F401  registers the file backend
from .hooks.chance_loss import ChanceLossHook
from .hooks.compile import CompileHook
from .hooks.early_stop import ResumableEarlyStoppingHook
from .hooks.exact_resume import ExactResumeHook
from .hooks.finite_loss import FiniteLossHook
from .hooks.interrupt import InterruptHook
from .hooks.label_range import LabelRangeHook
from .hooks.own_files import OwnFilesHook
from .optimizers.layer_decay import LayerDecayConstructor

__all__ = ['ChanceLossHook', 'CompileHook', 'ExactResumeHook', 'FiniteLossHook', 'InterruptHook', 'LabelRangeHook',
           'LayerDecayConstructor', 'OwnFilesHook', 'ResumableEarlyStoppingHook']
