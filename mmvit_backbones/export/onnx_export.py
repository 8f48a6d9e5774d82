"""Exports networks to ONNX."""
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import nn
from torch.export import Dim

from ..errors import UsageError
from ..utils.finite import first_not_finite
from ..utils.image_sizes import height_and_width
from .graphs import EXAMPLE_SIZE, OPSET, save, to_onnx


@torch.no_grad()
def export_onnx(model: nn.Module, path: str | PathLike, opset: int = OPSET,
                size: int | Sequence[int] | None = None) -> None:
    """Sets a network of :func:`get_model` to evaluation mode and exports it with ``torch.onnx.export(dynamo=True)``.

    The input is ``images (batch, in_channels, height, width)`` with dynamic batch, height and width. The outputs of a
    backbone are ``map0``, ``map1``, ... ``(batch, C, h, w)``, numbered by stage; the output of a classifier is ``logits
    (batch, classes)``. All operators are standard ONNX operators.

    Args:
        model (nn.Module): Backbone or classifier, in float32 on a CPU.
        path (str | PathLike): File to write; weights of more than 1.5 GB are written to ``PATH.data``.
        opset (int): Version of the ONNX operator set, at least 18. Defaults to 18.
        size (int | Sequence[int] | None): Side of all images, or height and width, in pixels; the graph of a single
            size is simpler. Defaults to None, which allows all sizes.

    Raises:
        UsageError: If the opset or the size is not supported, the model is not in float32 on a CPU, or its weights have
            NaN or inf.
        ImportError: If onnx or onnxscript is not installed.
        OSError: If the file cannot be written.
    """
    if opset < 18:
        raise UsageError(f'opset must be at least 18, got {opset}')
    sides = None if size is None else height_and_width(size)
    weight = next(model.parameters())
    if weight.dtype != torch.float32 or weight.device.type != 'cpu':
        raise UsageError(f'model must be in float32 on a CPU, got {weight.dtype} on {weight.device}')
    if found := first_not_finite(model.state_dict()):
        raise UsageError(f'model cannot be exported: {found}')
    model.eval()  # in training mode, the forward pass below would change the statistics of batch norms
    channels, outputs = signature_of(model)
    images = torch.rand(2, channels, *(sides or EXAMPLE_SIZE))
    axes = {0: Dim.DYNAMIC} if sides else {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = to_onnx(model, (images, ), (axes, ), ['images'], outputs, opset)
    if program.model.opset_imports[''] != opset:  # onnxscript only logs that it cannot convert the graph
        raise UsageError(f'opset must be at least 18 and supported by the installed onnxscript, got {opset}')
    save(program, path)


def signature_of(network: Any) -> tuple[int, list[str]]:
    """Returns the number of channels of a network's images, and the names of its outputs."""
    if hasattr(network, 'backbone'):
        return network.backbone.in_channels, ['logits']
    return network.in_channels, [f'map{stage}' for stage in network.out_indices]
