"""Networks as ONNX files, one for pictures of all sizes."""
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.onnx import symbolic_helper

OPSET = 17
EXAMPLE_SIZE = 90, 122  # needs padding in all networks


@torch.no_grad()
def export_onnx(model: nn.Module, path: str | PathLike, opset: int = OPSET) -> None:
    """Writes a network of :func:`get_model` in evaluation mode.

    The input is ``images (batch, 3, height, width)``, all but the channels of any length; the outputs are ``map0``,
    ``map1``, ... ``(batch, C, h, w)``, numbered by stage, or a classifier's ``logits (batch, classes)``. The operators
    are those of the ONNX standard.

    Args:
        model (nn.Module): Backbone or classifier, in float32 on a CPU.
        path (str | PathLike): File to write; beyond 2 GB, the weights lie in a file ``PATH.data`` beside it.
        opset (int): Version of the standard, at least 16. Defaults to 17.

    Raises:
        ValueError: If the opset is too old, or the model elsewhere or of another dtype.
        ImportError: If the package onnx is not installed.
    """
    if opset < 16:
        raise ValueError(f'opset must be at least 16, which has GridSample, got {opset}')
    weight = next(model.parameters())
    if weight.dtype != torch.float32 or weight.device.type != 'cpu':
        raise ValueError(f'model must be in float32 on a CPU, got {weight.dtype} on {weight.device}')
    backbone = getattr(model, 'backbone', None)
    axes = {0: 'batch', 2: 'height', 3: 'width'}
    if backbone is None:
        outputs = {f'map{stage}': {0: 'batch', 2: f'height{stage}', 3: f'width{stage}'} for stage in model.out_indices}
    else:
        outputs = dict(logits={0: 'batch'})
    images = torch.rand(2, (backbone or model).in_channels, *EXAMPLE_SIZE)
    for translation in (unflatten, floor_divide):
        torch.onnx.register_custom_op_symbolic(f'aten::{translation.__name__}', translation, opset)
    path = Path(path)
    with warnings.catch_warnings(), TemporaryDirectory(dir=path.parent) as folder:
        # That conditions are fixed (the networks see to it that they are right at all sizes), that torch's other
        # exporter is newer (it takes minutes where this one takes seconds), and what cannot be folded to a constant.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.filterwarnings('ignore', message='Constant folding')
        written = Path(folder, path.name)
        torch.onnx.export(model, (images, ), str(written), input_names=['images'], output_names=list(outputs),
                          dynamic_axes=dict(images=axes, **outputs), opset_version=opset, dynamo=False)
        if len(list(Path(folder).iterdir())) == 1:
            written.replace(path)
        else:  # beyond 2 GB, with a file for every weight
            gather_weights(written, path)


def gather_weights(source: Path, target: Path) -> None:
    """Copies an ONNX file whose weights lie in many files to one whose weights lie in one."""
    import onnx
    data = target.with_name(f'{target.name}.data')
    data.unlink(missing_ok=True)  # it would be appended to
    onnx.save(onnx.load(source), target, save_as_external_data=True, location=data.name)


def unflatten(graph, x: torch.Value, dim: torch.Value, sizes: torch.Value) -> torch.Value:
    """``Tensor.unflatten`` in ONNX; torch's own translation passes all lengths off as those of the example."""
    rank, dim = symbolic_helper._get_tensor_rank(x), symbolic_helper._get_const(dim, 'i', 'dim')
    shape = graph.op('Shape', x)

    def constant(numbers: list[int]) -> torch.Value:
        return graph.op('Constant', value_t=torch.tensor(numbers))

    def length(index: int) -> torch.Value:
        return graph.op('Gather', shape, constant([index]), axis_i=0)

    if symbolic_helper._is_packed_list(sizes):
        new = [graph.op('Reshape', size, constant([1])) for size in symbolic_helper._unpack_list(sizes)]
    else:
        new = [constant(symbolic_helper._get_const(sizes, 'is', 'sizes'))]
    lengths = [*map(length, range(dim % rank)), *new, *map(length, range(dim % rank + 1, rank))]
    return graph.op('Reshape', x, graph.op('Concat', *lengths, axis_i=0), allowzero_i=1)


def floor_divide(graph, x: torch.Value, divisor: torch.Value) -> torch.Value:
    """``x // divisor`` of integers in ONNX, whose division rounds to zero, and so does torch's own translation."""
    return graph.op('Div', graph.op('Sub', x, graph.op('Mod', x, divisor)), divisor)


@torch.no_grad()
def compare_onnx(model: nn.Module, path: str | PathLike,
                 sizes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """How far ONNX Runtime's results are from those of the network, on random pictures.

    Args:
        model (nn.Module): What :func:`export_onnx` wrote.
        path (str | PathLike): The file.
        sizes (Sequence[tuple[int, int]]): Heights and widths to try.

    Returns:
        dict[tuple[int, int], float]: For each size the greatest difference in any output, relative to its greatest
        number.
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
    """Greatest difference, relative to the greatest number; infinite between shapes, and if a number is none."""
    if actual.shape != expected.shape or not actual.isfinite().all():
        return float('inf')
    return float((actual - expected).abs().max() / expected.abs().max())
