"""Exports networks to ONNX."""
from ..utils import versions

versions.require('export')

from .onnx_export import export_onnx  # noqa: E402

__all__ = ['export_onnx']
