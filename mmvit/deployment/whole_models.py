"""Writes whole models, and what is known of them, as ONNX."""
import json
import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import torch

from mmvit_backbones.errors import UsageError
from mmvit_backbones.export.graphs import COMPANIONS, axes_of, save, to_onnx
from mmvit_backbones.utils.file_access import check_outputs

from ..inference.runtimes import DETAILS, EXPORTED_SUFFIX
from .examples import examples_of, join
from .files import Agreement
from .parts import Parts


@torch.no_grad()
def write_parts(parts: Parts, path: str | PathLike, details: dict) -> None:
    """Writes a model as ONNX, and its details into the metadata of the file.

    Args:
        parts (Parts): The model, from :func:`split`.
        path (str | PathLike): File to write; weights of more than 1.5 GB are written to ``PATH.data``.
        details (dict): Details in addition to those of the parts: ``task``, ``classes`` and others, see docs/export.md.
    """
    text = json.dumps(dict(parts.details, **details, input=describe_input(parts), outputs=describe_outputs(parts)))
    program = join({name: to_onnx(*each) for name, each in examples_of(parts).items()})
    program.model.metadata_props[DETAILS] = text
    save(program, path)


def store_deviations(path: str | PathLike, agreement: dict[str, Agreement]) -> None:
    """Writes what each runtime deviates from PyTorch into the metadata of a file.

    Leaves the file as it is if all runtimes agree.
    """
    import onnx
    deviations = {runtime: found.deviation for runtime, found in agreement.items() if found.deviation}
    if not deviations:
        return
    model = onnx.load(path, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    metadata[DETAILS] = json.dumps(dict(json.loads(metadata.get(DETAILS, '{}')), deviations=deviations))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def check_path(path: str | PathLike, reads: Iterable[object] = ()) -> None:
    """Raises UsageError if a file cannot be written, its suffix is not ``.onnx``, or it is a file that is read."""
    if Path(path).suffix != EXPORTED_SUFFIX:
        raise UsageError(f'the file to write must have the suffix {EXPORTED_SUFFIX}, got {path}')
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UsageError(f'folder {folder} does not exist')
    if not os.access(folder, os.W_OK) or Path(path).is_dir():
        raise UsageError(f'{path} cannot be written: it is a folder, or {folder} is not writable')
    check_outputs('path', (f'{path}{suffix}' for suffix in ('', *COMPANIONS)), reads)


def describe_input(parts: Parts) -> dict:
    batch = ['batch'] if parts.takes == 'images' else []
    return dict(name=parts.takes, shape=[*batch, 'height', 'width', 3], dtype='uint8', channels='RGB')


def describe_outputs(parts: Parts) -> list[dict]:
    dtypes = dict(labels='int64', segmentation='int64', masks='bool')
    is_batch = parts.takes == 'images'
    return [dict(name=name, dtype=dtypes.get(name, 'float32'), shape=axes_of(name, is_batch)) for name in parts.outputs]
