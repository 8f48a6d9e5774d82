"""Hooks and an optimizer constructor; importing this package registers them in MMEngine's root registries."""
from . import atomic  # noqa: F401  registers the file backend
from .exact_resume import ExactResumeHook
from .finite import FiniteLossHook
from .interrupt import InterruptHook
from .layer_decay import LayerDecayConstructor

__all__ = ['ExactResumeHook', 'FiniteLossHook', 'InterruptHook', 'LayerDecayConstructor']
