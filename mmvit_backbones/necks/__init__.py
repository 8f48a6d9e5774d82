"""Necks that OpenMMLab lacks; importing this package registers them in MMEngine's root ``MODELS``."""
from .norm_pooling import NormPooling
from .pooled_layer_norm import PooledLayerNorm
from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['NormPooling', 'PooledLayerNorm', 'SimpleFeaturePyramid']
