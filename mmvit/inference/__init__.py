"""Prediction with checkpoints and exported models."""
from ..utils.images import read_rgb
from .metric import evaluate
from .predictor import Predictor
from .results import Classification, Detection, Result, Segmentation
from .runtimes import is_exported

__all__ = ['Classification', 'Detection', 'Predictor', 'Result', 'Segmentation', 'evaluate',
           'is_exported', 'read_rgb']
