"""Exports networks and whole models to ONNX."""
import json
import os
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import UsageError
from ..inference.runtimes import DETAILS, EXPORTED_SUFFIX
from ..utils.finite import not_finite
from .graphs import AXES, EXAMPLE_SIZE, OPSET, examples_of, join, save, to_onnx
from .parts import Parts


@torch.no_grad()
def export_onnx(model: nn.Module, path: str | PathLike, opset: int = OPSET,
                size: tuple[int, int] | None = None) -> None:
    """Sets a network of :func:`get_model` to evaluation mode and exports it with ``torch.onnx.export(dynamo=True)``.

    The input is ``images (batch, in_channels, height, width)`` with dynamic batch, height and width. The outputs of a
    backbone are ``map0``, ``map1``, ... ``(batch, C, h, w)``, numbered by stage; the output of a classifier is ``logits
    (batch, classes)``. All operators are standard ONNX operators. A network with ``F.grid_sample`` is exported with
    a warning if TensorRT would read the file wrongly.

    Args:
        model (nn.Module): Backbone or classifier, in float32 on a CPU.
        path (str | PathLike): File to write; weights of more than 1.5 GB are written to ``PATH.data``.
        opset (int): Version of the ONNX operator set, at least 18. Defaults to 18.
        size (tuple[int, int] | None): Height and width of all images in pixels; the graph of a single size is simpler.
            Defaults to None, which allows all sizes.

    Raises:
        UsageError: If the opset or the size is not supported, the model is not in float32 on a CPU, or its weights have
            NaN or inf.
        ImportError: If onnx or onnxscript is not installed.
        OSError: If the file cannot be written.
    """
    check_opset(opset)
    weight = next(model.parameters())
    if weight.dtype != torch.float32 or weight.device.type != 'cpu':
        raise UsageError(f'model must be in float32 on a CPU, got {weight.dtype} on {weight.device}')
    if found := not_finite(model.state_dict()):
        raise UsageError(f'model cannot be exported: {found}')
    model.eval()  # in training mode, the forward pass below would change the statistics of batch norms
    channels, outputs = signature_of(model)
    images = torch.rand(2, channels, *(size or EXAMPLE_SIZE))
    example, = examples_of(Parts(None, model, None, 'images', outputs, is_static=size is not None), images).values()
    program = to_onnx(*example, opset)
    if program.model.opset_imports[''] != opset:  # onnxscript only logs that it cannot convert the graph
        raise UsageError(f'opset must be at least 18 and supported by the installed onnxscript, got {opset}')
    if opset >= 20 and any(node.op_type == 'GridSample' for node in program.model.graph.all_nodes()):
        warnings.warn(f'{path} contains GridSample of opset {opset}, which TensorRT computes wrongly without a '
                      f'message; for TensorRT, export with opset={OPSET}', stacklevel=3)  # 2 is torch.no_grad
    save(program, path)


def check_opset(opset: int) -> None:
    if opset < 18:
        raise UsageError(f'opset must be at least 18, got {opset}')


def signature_of(network: Any) -> tuple[int, list[str]]:
    """Returns the number of channels of a network's images, and the names of its outputs."""
    if hasattr(network, 'backbone'):
        return network.backbone.in_channels, ['logits']
    return network.in_channels, [f'map{stage}' for stage in network.out_indices]


@torch.no_grad()
def export_model(parts: Parts, path: str | PathLike, details: dict, example: np.ndarray) -> None:
    """Exports a model to ONNX, and writes its details into the file and into ``PATH.json``.

    Args:
        parts (Parts): The model, from :func:`split`.
        path (str | PathLike): File to write; weights of more than 1.5 GB are written to ``PATH.data``.
        details (dict): Details in addition to those of the parts: ``task``, ``classes`` and others, see docs/export.md.
        example (np.ndarray): Image ``(height, width, 3)`` in RGB uint8.

    Raises:
        UsageError: If the file cannot be written, or its suffix is not ``.onnx``.
    """
    check_path(path)
    image = torch.from_numpy(example) if parts.preprocess else torch.rand(1, 3, *EXAMPLE_SIZE)
    if parts.takes == 'images':  # torch.export specializes graphs on a batch size of 1
        image = torch.stack([image, image]) if parts.preprocess else torch.cat([image, image])
    text = json.dumps(dict(parts.details, **details, input=describe_input(parts), outputs=describe_outputs(parts)))
    program = join({name: to_onnx(*each) for name, each in examples_of(parts, image).items()})
    program.model.metadata_props[DETAILS] = text
    save(program, path)
    Path(f'{path}.json').write_text(text)


def store_deviations(path: str | PathLike, deviations: dict[str, str]) -> None:
    """Writes what each runtime deviates from PyTorch into the metadata of a file, and into ``PATH.json`` if it exists.

    Does nothing if ``deviations`` is empty.
    """
    import onnx
    if not deviations:
        return
    model = onnx.load(path, load_external_data=False)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    metadata[DETAILS] = text = json.dumps(dict(json.loads(metadata.get(DETAILS, '{}')), deviations=deviations))
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    if Path(f'{path}.json').exists():
        Path(f'{path}.json').write_text(text)


def check_path(path: str | PathLike) -> None:
    """Raises UsageError if a file cannot be written, or its suffix is not ``.onnx``."""
    if Path(path).suffix != EXPORTED_SUFFIX:
        raise UsageError(f'the file to write must have the suffix {EXPORTED_SUFFIX}, got {path}')
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise UsageError(f'folder {folder} does not exist')
    if not os.access(folder, os.W_OK) or Path(path).is_dir():
        raise UsageError(f'{path} cannot be written: it is a folder, or {folder} is not writable')


def describe_input(parts: Parts) -> dict:
    batch = ['batch'] if parts.takes == 'images' else []
    if parts.preprocess:
        return dict(name=parts.takes, shape=[*batch, 'height', 'width', 3], dtype='uint8', channels='RGB')
    return dict(name=parts.takes, shape=[*(batch or [1]), 3, 'height', 'width'], dtype='float32',
                channels=parts.details['preprocessing']['channels'])


def describe_outputs(parts: Parts) -> list[dict]:
    dtypes = dict(labels='int64', segmentation='int64', masks='bool')
    scores = ['batch', 'classes'] if parts.takes == 'images' else ['instances']
    return [dict(name=name, dtype=dtypes.get(name, 'float32'), shape=AXES.get(name, scores)) for name in parts.outputs]
