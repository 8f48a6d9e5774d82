"""Prediction with checkpoints and exported models."""
from ..folders.images import read_rgb
from .metric import evaluate
from .predictor import Predictor
from .results import Classification, Detection, Result, Segmentation

__all__ = ['Classification', 'Detection', 'Predictor', 'Result', 'Segmentation', 'evaluate', 'read_rgb']
