"""Comparisons of backbones on the same data."""
from .comparison import Comparison, Settings, compare

__all__ = ['Comparison', 'Settings', 'compare']
