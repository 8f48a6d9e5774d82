"""Comparisons of backbones on the same data."""
from .comparison import Comparison, compare

__all__ = ['Comparison', 'compare']
