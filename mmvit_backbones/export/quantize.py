"""ONNX files in int8, by ONNX Runtime's static quantization; preprocessing and postprocessing stay in float32."""
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
    """Rewrites a file of :func:`export_model` with convolutions and products of the network in int8.

    Weights are quantized per channel and symmetrically, activations by what they reach on the images. A layer whose
    output is farther than the bound from that in float, as the norm of the difference relative to the norm, stays in
    float; layers are held against their float output one by one, on the first image.

    Args:
        images (Sequence[np.ndarray]): What the input ``source`` takes, like what the model will see.

    Returns:
        str: How many layers are in int8.
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
    """Relative error of the output of each node, by its name; errors of the nodes before it are in it."""
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
