"""Exports networks as ONNX files for images of all sizes."""
import operator
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

OPSET = 18
EXAMPLE_SIZE = 474, 698  # needs padding in all networks, and several windows in all stages
FREE_AXES = dict(images=('batch', '', 'height', 'width'), image=('height', 'width'), logits=('batch', ),
                 labels=('instances', ), scores=('instances', ), boxes=('instances', ),
                 masks=('instances', 'height', 'width'), segmentation=('height', 'width'))


@torch.no_grad()
def export_onnx(model: nn.Module, path: str | PathLike, opset: int = OPSET) -> None:
    """Exports a network of :func:`get_model` in evaluation mode, by ``torch.onnx.export(dynamo=True)``.

    The input is ``images (batch, 3, height, width)``, all but the channels of any length; the outputs are ``map0``,
    ``map1``, ... ``(batch, C, h, w)``, numbered by stage, or a classifier's ``logits (batch, classes)``. The operators
    are those of the ONNX standard.

    Args:
        model (nn.Module): Backbone or classifier, in float32 on a CPU.
        path (str | PathLike): File to write; weights of more than 1.5 GB are written to ``PATH.data``.
        opset (int): Version of the standard, at least 18.

    Raises:
        ValueError: If the opset is too old, or the model is not in float32 on a CPU.
        ImportError: If onnx or onnxscript is not installed.
    """
    if opset < 18:
        raise ValueError(f'opset must be at least 18, which torch exports to, got {opset}')
    weight = next(model.parameters())
    if weight.dtype != torch.float32 or weight.device.type != 'cpu':
        raise ValueError(f'model must be in float32 on a CPU, got {weight.dtype} on {weight.device}')
    backbone = getattr(model, 'backbone', None)
    outputs = ['logits'] if backbone is not None else [f'map{stage}' for stage in model.out_indices]
    images = torch.rand(2, (backbone or model).in_channels, *EXAMPLE_SIZE)
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    save(to_onnx(model, (images, ), (free, ), ['images'], outputs, opset), path)


def to_onnx(model: nn.Module, inputs: tuple[Tensor, ...], dynamic_shapes: tuple, takes: list[str], gives: list[str],
            opset: int = OPSET) -> torch.onnx.ONNXProgram:
    """Converts a module to an ONNX graph. Free axes are named as in ``FREE_AXES``, or NAME_AXIS."""
    with ignore_deprecations():
        program = torch.onnx.export(
            model.eval(), inputs, dynamo=True, verbose=False, opset_version=opset, input_names=takes,
            output_names=gives, dynamic_shapes=dynamic_shapes, custom_translation_table=translations())
    graph = program.model.graph
    for node in graph:  # dimensions that were equal for the example have one name: ONNX Runtime would share memory
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    for value in (*graph.inputs, *graph.outputs):
        for axis, length in enumerate(value.shape):
            if not isinstance(length, int):
                names = FREE_AXES.get(value.name, ())
                value.shape[axis] = names[axis] if axis < len(names) else f'{value.name}_{axis}'
    return program


def save(program: torch.onnx.ONNXProgram, path: str | PathLike) -> None:
    """Saves a graph; weights of more than 1.5 GB are written to a file next to it."""
    Path(f'{path}.data').unlink(missing_ok=True)  # of an earlier export
    program.save(path)


@contextmanager
def ignore_deprecations() -> Iterator[None]:
    """Ignores deprecation warnings caused by torch and torchvision: in pytrees and non-maximum suppression."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', '.*LeafSpec|.create_unbacked_symint. is deprecated', FutureWarning)
        yield


def translations() -> dict:
    """Returns ONNX translations for sizes: torch's exporter rounds ``//`` to zero, and lacks min and max."""
    from onnxscript import opset18 as op
    return {
        operator.floordiv: lambda a, b: op.Div(op.Sub(a, op.Mod(a, b)), b),
        torch.sym_min: lambda a, b: op.Min(a, b),
        torch.sym_max: lambda a, b: op.Max(a, b),
        # Bounds of sizes may exceed what ONNX's integers hold.
        operator.le: lambda a, b: op.LessOrEqual(a, min(b, 2**63 - 1) if isinstance(b, int) else b),
    }


@torch.no_grad()
def compare_onnx(model: nn.Module, path: str | PathLike,
                 sizes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """Compares ONNX Runtime with PyTorch on random images.

    Args:
        model (nn.Module): The exported network.
        path (str | PathLike): File of :func:`export_onnx`.
        sizes (Sequence[tuple[int, int]]): Heights and widths of the images.

    Returns:
        dict[tuple[int, int], float]: For each size the largest difference in any output, relative to its largest
        element.
    """
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    channels = session.get_inputs()[0].shape[1]
    model.eval()
    differences = {}
    for number, size in enumerate(sizes):
        images = torch.rand(1 + number % 2, channels, *size)
        expected = model(images)
        outputs = session.run(None, dict(images=images.numpy()))
        differences[tuple(size)] = max(
            difference(torch.from_numpy(ours), theirs)
            for ours, theirs in zip(outputs, [expected] if isinstance(expected, Tensor) else expected, strict=True))
    return differences


def difference(actual: Tensor, expected: Tensor) -> float:
    """Returns the largest difference relative to the largest element; inf for different shapes, NaN or inf."""
    if actual.shape != expected.shape or not (actual.isfinite().all() and expected.isfinite().all()):
        return float('inf')
    return float((actual - expected).abs().max() / expected.abs().max())
