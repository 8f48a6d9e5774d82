"""Optimizer constructors and hooks; importing this package registers them in MMEngine's root registries."""
from .checkpoint_hook import AtomicCheckpointHook
from .exact_resume import ExactResumeHook
from .finite import FiniteLossHook
from .hooks import AccelerateHook, CheckpointMatchHook, LabelCheckHook, ProgressBarHook
from .interrupt import InterruptHook
from .layer_decay import LayerDecayConstructor

# By the names of `default_hooks` in a config.
RELIABLE_HOOKS = dict(
    label_check=dict(type='LabelCheckHook'),
    finite_loss=dict(type='FiniteLossHook'),
    exact_resume=dict(type='ExactResumeHook'),
    interrupt=dict(type='InterruptHook'),
)

__all__ = [
    'AccelerateHook', 'AtomicCheckpointHook', 'CheckpointMatchHook', 'ExactResumeHook', 'FiniteLossHook',
    'InterruptHook', 'LabelCheckHook', 'LayerDecayConstructor', 'ProgressBarHook'
]
