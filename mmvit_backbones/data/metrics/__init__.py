"""Metrics that OpenMMLab lacks."""
from .cross_entropy import MeanCrossEntropy
from .imagenet_real import ImageNetReaL
from .per_class import PerClassAccuracy

__all__ = ['ImageNetReaL', 'MeanCrossEntropy', 'PerClassAccuracy']
