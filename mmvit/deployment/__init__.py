"""Exports trained models to ONNX, and compares the files with PyTorch."""
from mmvit_backbones.utils import versions

versions.require('export')

from .exporting import ExportedFile, export_model  # noqa: E402

__all__ = ['ExportedFile', 'export_model']
