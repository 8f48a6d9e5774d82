"""Necks that OpenMMLab lacks; importing this package registers them in MMEngine's root ``MODELS``."""
from .norm_pooling import NormPooling

__all__ = ['NormPooling']
