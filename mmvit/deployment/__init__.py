"""Exports trained models to ONNX, and compares the files with PyTorch."""
from .exporting import ExportedFile, export_model

__all__ = ['ExportedFile', 'export_model']
