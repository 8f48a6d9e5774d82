"""Networks and whole models as files."""
from .networks import compare_onnx, export_onnx

__all__ = ['compare_onnx', 'export_onnx']
