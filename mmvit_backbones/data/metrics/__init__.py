"""Metrics that OpenMMLab lacks."""
from .cross_entropy import MeanCrossEntropy
from .imagenet_real import ImageNetReaL
from .imagenet_variant import ImageNetVariantAccuracy

__all__ = ['ImageNetReaL', 'ImageNetVariantAccuracy', 'MeanCrossEntropy']
