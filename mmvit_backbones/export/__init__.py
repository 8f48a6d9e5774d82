"""Exports networks and whole models."""
from .networks import compare_onnx, export_onnx

__all__ = ['compare_onnx', 'export_onnx']
