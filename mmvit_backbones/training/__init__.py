"""Hooks and an optimizer constructor; importing this package registers them in MMEngine's root registries."""
from .checkpoint_hook import AtomicCheckpointHook
from .exact_resume import ExactResumeHook
from .finite import FiniteLossHook
from .interrupt import InterruptHook
from .label_check import LabelCheckHook
from .layer_decay import LayerDecayConstructor

__all__ = ['AtomicCheckpointHook', 'ExactResumeHook', 'FiniteLossHook', 'InterruptHook', 'LabelCheckHook',
           'LayerDecayConstructor']
