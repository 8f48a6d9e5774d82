"""Hooks that OpenMMLab lacks."""
from .early_stop import ResumableEarlyStoppingHook
from .equal_heads import EqualHeadsHook, FrozenBackboneHook
from .exact_resume import ExactResumeHook
from .finite_loss import FiniteLossHook
from .interrupt import InterruptHook
from .own_files import OwnFilesHook
from .terminal import TerminalHook

__all__ = ['EqualHeadsHook', 'ExactResumeHook', 'FiniteLossHook', 'FrozenBackboneHook', 'InterruptHook',
           'OwnFilesHook', 'ResumableEarlyStoppingHook', 'TerminalHook']
