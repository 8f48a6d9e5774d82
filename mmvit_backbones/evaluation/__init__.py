"""Metrics that OpenMMLab lacks; importing this package registers them."""
from .coco_from_zero import CocoMetricFromZero
from .imagenet_real import ImageNetReaL
from .per_class import PerClassAccuracy

__all__ = ['CocoMetricFromZero', 'ImageNetReaL', 'PerClassAccuracy']
