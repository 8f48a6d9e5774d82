"""Hooks that OpenMMLab lacks."""
from .early_stop import ResumableEarlyStoppingHook
from .exact_resume import ExactResumeHook
from .finite_loss import FiniteLossHook
from .frozen_backbone import FrozenBackboneHook
from .interrupt import InterruptHook
from .own_files import OwnFilesHook
from .terminal import TerminalHook

__all__ = ['ExactResumeHook', 'FiniteLossHook', 'FrozenBackboneHook', 'InterruptHook',
           'OwnFilesHook', 'ResumableEarlyStoppingHook', 'TerminalHook']
