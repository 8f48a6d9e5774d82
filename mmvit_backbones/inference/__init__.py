"""Prediction with checkpoints and with exported files."""
from .load import Model, load

__all__ = ['Model', 'load']
