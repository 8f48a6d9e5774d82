"""Quantizes ONNX files to int8 with ONNX Runtime's static quantizer."""
import tempfile
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

WEIGHTED = 'Conv', 'MatMul', 'Gemm'


def to_int8(path: str | PathLike, images: Sequence[np.ndarray], source: str = 'image') -> str:
    """Quantizes the convolutions and linear layers of a file's network to int8, in place.

    Weights are quantized symmetrically per channel to 7 bits, and the inputs and outputs of layers by their range over
    the images. Preprocessing, postprocessing, attention, the first convolution, which sees the image, and depthwise
    convolutions stay in float32.

    Args:
        path (str | PathLike): The ONNX file.
        images (Sequence[np.ndarray]): Representative inputs for calibration.
        source (str): Name of the input. Defaults to 'image'.

    Returns:
        str: Message with the number of layers in int8.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        samples: Iterator[dict] = iter([{source: image} for image in images])

        def get_next(self) -> dict:
            return next(self.samples, {})  # an empty dict ends the calibration

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder, 'prepared.onnx'))
        quant_pre_process(str(path), prepared, skip_optimization=True, skip_symbolic_shape=True)
        layers = layers_of(onnx.load(prepared).graph)
        quantize_static(
            prepared, str(path), Reader(), op_types_to_quantize=WEIGHTED,
            nodes_to_quantize=[layer.name for layer in layers if is_quantized(layer, layers)],
            per_channel=True, weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
            reduce_range=True)  # without VNNI, ONNX Runtime's sums of products with 8-bit weights overflow
    Path(f'{path}.data').unlink(missing_ok=True)
    return f'{sum(is_quantized(layer, layers) for layer in layers)} of {len(layers)} layers in int8'


def layers_of(graph) -> list:
    """Returns layers with constant weights, because ONNX Runtime has no scales per channel for batched matrices."""
    constants = {initializer.name for initializer in graph.initializer if len(initializer.dims) in (2, 4)}
    return [node for node in graph.node if not node.name.startswith(('preprocess/', 'postprocess/'))
            and node.op_type in WEIGHTED and node.input[1] in constants]


def is_quantized(layer, layers: Sequence) -> bool:
    """Returns whether a layer is neither the first convolution nor a grouped one."""
    groups = next((attribute.i for attribute in layer.attribute if attribute.name == 'group'), 1)
    first = next((other.name for other in layers if other.op_type == 'Conv'), None)
    return groups == 1 and layer.name != first
