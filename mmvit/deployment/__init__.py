"""Exports networks by name and trained models to ONNX, and compares the files with PyTorch."""
from mmvit_backbones.utils import versions

versions.require('export')

from .checkpoint import export_checkpoint  # noqa: E402
from .differences import compare_onnx  # noqa: E402
from .files import ExportedFile  # noqa: E402
from .models import export_model  # noqa: E402
from .network import export_network  # noqa: E402

__all__ = ['ExportedFile', 'compare_onnx', 'export_checkpoint', 'export_model', 'export_network']
