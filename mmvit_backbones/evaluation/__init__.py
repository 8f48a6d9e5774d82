"""Metrics that OpenMMLab lacks; importing this package registers them."""
from .coco_at import CocoMetricAt
from .cross_entropy import MeanCrossEntropy
from .imagenet_real import ImageNetReaL
from .per_class import PerClassAccuracy

__all__ = ['CocoMetricAt', 'ImageNetReaL', 'MeanCrossEntropy', 'PerClassAccuracy']
