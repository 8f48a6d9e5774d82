"""Comparisons of backbones on the same data: by trained models, and by their frozen features."""
from .comparison import Comparison, Settings, compare
from .features import FeatureReport, evaluate_features

__all__ = ['Comparison', 'FeatureReport', 'Settings', 'compare', 'evaluate_features']
