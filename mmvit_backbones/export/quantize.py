"""Quantizes ONNX files to int8 by ONNX Runtime; preprocessing and postprocessing stay in float32."""
import shutil
import tempfile
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from types import SimpleNamespace

import numpy as np

WEIGHTED = 'Conv', 'MatMul', 'Gemm'
STEPS = 0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75  # shares of the layers that stay in float


def to_int8(path: str | PathLike, images: Sequence[np.ndarray], source: str = 'image',
            is_good: Callable[[str], bool] | None = None) -> str:
    """Quantizes convolutions and matrix products of a file of :func:`export_model` to int8, in place.

    Weights are quantized symmetrically per channel, activations by their range on the images. The error of each layer
    is measured on the first image, as the relative norm of what its quantization changes. Layers with the largest
    errors stay in float, as few as ``is_good`` allows.

    Args:
        images (Sequence[np.ndarray]): Representative values of the input ``source``, for calibration.
        is_good (Callable[[str], bool] | None): Whether a quantized file is accurate. Defaults to None: any.

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

        def quantize(names: Sequence[str]) -> None:
            samples = iter([{source: image} for image in images])
            reader = SimpleNamespace(get_next=lambda: next(samples, None))
            quantize_static(
                str(prepared), str(quantized), reader, quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=list(WEIGHTED),
                calibrate_method=CalibrationMethod.MinMax, nodes_to_quantize=list(names))

        best_first = [layer.name for layer in layers]
        for step in STEPS:
            count = round(len(layers) * (1 - step))
            quantize(best_first[:count])
            if is_good is None or is_good(str(quantized)):
                break
            if step == 0:
                errors = layer_errors(prepared, quantized, layers, {source: images[0]})
                best_first.sort(key=lambda name: errors[name])
        shutil.copyfile(quantized, path)
    kept = best_first[count:]
    return f'{count} of {len(layers)} layers in int8; in float: {", ".join(kept) or "none"}'


def layer_errors(before: Path, after: Path, layers: Sequence, inputs: dict) -> dict[str, float]:
    """Returns by name what each node's quantization adds to the relative error: that of its output less its input's."""
    names = list(dict.fromkeys(name for layer in layers for name in (layer.input[0], layer.output[0])))
    values = zip(names, *(run_with_outputs(path, names, inputs) for path in (before, after)))
    errors = {name: float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), 1e-12))
              for name, expected, actual in values}
    return {layer.name: errors[layer.output[0]] - errors[layer.input[0]] for layer in layers}


def run_with_outputs(path: Path, names: Sequence[str], inputs: dict) -> list[np.ndarray]:
    import onnx
    import onnxruntime
    model = onnx.load(path)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    return session.run(None, inputs)
