"""Losses that are missing in OpenMMLab; importing this package registers them in MMEngine's root ``MODELS``."""
from .map_similarity import MapSimilarityLoss

__all__ = ['MapSimilarityLoss']
