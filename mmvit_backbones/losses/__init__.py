"""Losses that OpenMMLab lacks; importing this package registers them in MMEngine's root ``MODELS``."""
from .map_similarity import MapSimilarityLoss

__all__ = ['MapSimilarityLoss']
