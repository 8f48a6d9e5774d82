"""Metrics that OpenMMLab lacks."""
from .cross_entropy import MeanCrossEntropy
from .imagenet_real import ImageNetReaL
from .imagenet_variant import ImageNetVariantAccuracy
from .per_class import PerClassAccuracy

__all__ = ['ImageNetReaL', 'ImageNetVariantAccuracy', 'MeanCrossEntropy', 'PerClassAccuracy']
