"""Prediction with checkpoints and exported models."""
from ..utils.images import read_rgb
from .predictor import Predictor
from .results import Classification, Detection, Pose, Result, Segmentation

__all__ = ['Classification', 'Detection', 'Pose', 'Predictor', 'Result', 'Segmentation', 'read_rgb']
