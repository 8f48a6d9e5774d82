"""Optimizer constructors and hooks; importing this package registers them in MMEngine's root registries."""
from .checkpoint_hook import AtomicCheckpointHook
from .exact_resume import ExactResumeHook
from .finite import FiniteLossHook
from .hooks import AccelerateHook, CheckpointMatchHook, LabelCheckHook, ProgressBarHook
from .interrupt import InterruptHook
from .layer_decay import LayerDecayConstructor

__all__ = [
    'AccelerateHook', 'AtomicCheckpointHook', 'CheckpointMatchHook', 'ExactResumeHook', 'FiniteLossHook',
    'InterruptHook', 'LabelCheckHook', 'LayerDecayConstructor', 'ProgressBarHook'
]
