"""Hooks that OpenMMLab lacks."""
from .equal_heads import EqualHeadsHook, FrozenBackboneHook
from .exact_resume import ExactResumeHook
from .finite import FiniteLossHook
from .interrupt import InterruptHook
from .terminal import TerminalHook

__all__ = ['EqualHeadsHook', 'ExactResumeHook', 'FiniteLossHook', 'FrozenBackboneHook', 'InterruptHook',
           'TerminalHook']
