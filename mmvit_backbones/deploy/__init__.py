"""Models as they are deployed: exported with their preprocessing, quantized, and loaded for prediction."""
from .load import Model, load

__all__ = ['Model', 'load']
