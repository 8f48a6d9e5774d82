"""Exports networks and whole models."""
from ..utils import versions

versions.require('export')

from .compare import compare_onnx  # noqa: E402
from .models import export_model, export_onnx  # noqa: E402

__all__ = ['compare_onnx', 'export_model', 'export_onnx']
