"""Necks that OpenMMLab lacks."""
from .pooled_layer_norm import PooledLayerNorm
from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['PooledLayerNorm', 'SimpleFeaturePyramid']
