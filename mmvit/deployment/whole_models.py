"""Writes whole models, and what is known of them, as ONNX."""
import json
import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import torch

from mmvit_backbones.errors import UsageError
from mmvit_backbones.export.graphs import COMPANIONS, save, to_onnx
from mmvit_backbones.utils.file_access import check_outputs
from mmvit_backbones.version import __version__

from ..inference.runtimes import DETAILS
from ..naming import EXPORTED_SUFFIX
from .examples import examples_of, join
from .parts import Parts


@torch.no_grad()
def write_parts(parts: Parts, path: str | PathLike, details: dict) -> None:
    """Writes a model as ONNX, and its details into the metadata of the file.

    Args:
        parts (Parts): The model, from :func:`split`.
        path (str | PathLike): File to write; weights of more than 1.5 GB are written to ``PATH.data``.
        details (dict): ``task``, ``classes`` and others, see docs/export.md.
    """
    program = join({name: to_onnx(**each) for name, each in examples_of(parts).items()})
    versions = f'mmvit_backbones {__version__}, torch {torch.__version__}'
    program.model.metadata_props[DETAILS] = json.dumps(dict(details, version=versions))
    save(program, path)


def check_path(path: str | PathLike, reads: Iterable[object] = ()) -> None:
    """Raises UsageError if a file cannot be written, its suffix is not ``.onnx``, or it is a file that is read."""
    if Path(path).suffix != EXPORTED_SUFFIX:
        raise UsageError(f'the file to write must have the suffix {EXPORTED_SUFFIX}, got {path}')
    folder = Path(path).absolute().parent
    if not os.access(folder, os.W_OK) or Path(path).is_dir():
        raise UsageError(f'{path} cannot be written: it is a folder, or {folder} does not exist or is not writable')
    check_outputs('path', (f'{path}{suffix}' for suffix in ('', *COMPANIONS)), reads)
