"""Necks that OpenMMLab lacks; importing this package registers them in MMEngine's root ``MODELS``."""
from .layer_norm_pooling import LayerNormPooling
from .simple_feature_pyramid import SimpleFeaturePyramid

__all__ = ['LayerNormPooling', 'SimpleFeaturePyramid']
