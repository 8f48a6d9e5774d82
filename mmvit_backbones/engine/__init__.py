"""Optimizer constructors and hooks; importing this package registers them in MMEngine's root registries."""
from .hooks import AccelerateHook, CheckpointMatchHook, ExactResumeHook, ProgressBarHook
from .layer_decay import LayerDecayConstructor

__all__ = ['AccelerateHook', 'CheckpointMatchHook', 'ExactResumeHook', 'LayerDecayConstructor', 'ProgressBarHook']
