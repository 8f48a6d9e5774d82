"""Exports networks and whole models."""
from ..utils import versions

versions.require('export')

from .networks import compare_onnx, export_onnx  # noqa: E402

__all__ = ['compare_onnx', 'export_onnx']
