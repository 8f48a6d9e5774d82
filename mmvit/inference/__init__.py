"""Prediction with checkpoints and exported models."""
from ..folders.images import read_rgb
from ..predictions.results import Classification, Detection, Result, Segmentation
from .metric import evaluate
from .predictor import Predictor

__all__ = ['Classification', 'Detection', 'Predictor', 'Result', 'Segmentation', 'evaluate', 'read_rgb']
