"""Quantizes ONNX files to int8 by ONNX Runtime; preprocessing and postprocessing stay in float32."""
import shutil
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import SimpleNamespace

import numpy as np

WEIGHTED = 'Conv', 'MatMul', 'Gemm'


def to_int8(path: str | PathLike, images: Sequence[np.ndarray], bound: float = 0.05,
            source: str = 'image') -> str:
    """Quantizes convolutions and matrix products of a file of :func:`export_model` to int8, in place.

    Weights are quantized symmetrically per channel, activations by their range on the images. A layer whose
    output differs from that in float by more than the bound, as the relative norm of the difference, stays in
    float. Layers are compared on the first image.

    Args:
        images (Sequence[np.ndarray]): Representative values of the input ``source``, for calibration.

    Returns:
        str: Number of layers in int8.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, 'prepared.onnx'), Path(folder, 'int8.onnx')
        quant_pre_process(str(path), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        # ONNX Runtime has no scale per channel for stacks of matrices.
        constants = {initializer.name for initializer in model.graph.initializer if len(initializer.dims) in (2, 4)}
        layers = [node for node in model.graph.node if not node.name.startswith(('preprocess/', 'postprocess/'))
                  and node.op_type in WEIGHTED and node.input[1] in constants]
        kept: list[str] = []

        def quantize() -> None:
            samples = iter([{source: image} for image in images])
            reader = SimpleNamespace(get_next=lambda: next(samples, None))
            quantize_static(
                str(prepared), str(quantized), reader, quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=list(WEIGHTED),
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_quantize=[node.name for node in layers if node.name not in kept])

        quantize()
        if bound < float('inf'):
            errors = layer_errors(prepared, quantized, layers, {source: images[0]})
            kept = [name for name, error in errors.items() if not error <= bound]
        if kept:
            quantize()
        shutil.copyfile(quantized, path)
    return f'{len(layers) - len(kept)} of {len(layers)} layers in int8; in float: {", ".join(kept) or "none"}'


def layer_errors(before: Path, after: Path, layers: Sequence, inputs: dict) -> dict[str, float]:
    """Returns the relative error of each node's output by name, including errors of earlier nodes."""
    float_values, int8_values = (run_with_outputs(path, [layer.output[0] for layer in layers], inputs)
                                 for path in (before, after))
    return {layer.name: float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-12))
            for layer, expected, actual in zip(layers, float_values, int8_values) if expected is not None}


def run_with_outputs(path: Path, names: Sequence[str], inputs: dict) -> list[np.ndarray]:
    import onnx
    import onnxruntime
    model = onnx.load(path)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, inputs)
