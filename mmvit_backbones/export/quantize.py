"""Quantizes ONNX files to int8 with ONNX Runtime; preprocessing and postprocessing stay in float32."""
import shutil
import tempfile
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..inference.runtimes import session_of

WEIGHTED = 'Conv', 'MatMul', 'Gemm'
GROUPS = 12  # approximate number of groups of layers whose costs are measured


def to_int8(path: str | PathLike, images: Sequence[np.ndarray], source: str = 'image',
            is_good: Callable[[str], bool] = lambda path: True) -> str:
    """Quantizes convolutions and matrix products of a file of :func:`export_model` to int8, in place.

    Weights are quantized symmetrically per channel to 7 bits, and the inputs and outputs of layers by their range over
    the images. If outputs stayed in float, ONNX Runtime would fuse products and biases into a slower float Gemm.

    If ``is_good`` rejects the file, the cost of each group of consecutive layers of one kind is measured: the change of
    the network's outputs for the first image when only this group is quantized. The most expensive groups stay in
    float, as few as ``is_good`` requires.

    Args:
        path (str | PathLike): The ONNX file.
        images (Sequence[np.ndarray]): Representative inputs for calibration.
        source (str): Name of the input. Defaults to 'image'.
        is_good (Callable[[str], bool]): Returns whether a quantized file is accurate enough. Defaults to
            accepting every file.

    Returns:
        str: Message with the number of layers in int8 and the names of the layers in float.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QDQQuantizer, QuantType, create_calibrator
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        samples = iter([{source: image} for image in images])

        def get_next(self) -> dict:
            return next(self.samples, {})  # an empty dict ends the calibration

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder, 'prepared.onnx'), Path(folder, 'int8.onnx')
        quant_pre_process(str(path), str(prepared), skip_optimization=True, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        # ONNX Runtime does not support per-channel scales for batched matrices.
        constants = {initializer.name for initializer in model.graph.initializer if len(initializer.dims) in (2, 4)}
        layers = [node for node in model.graph.node if not node.name.startswith(('preprocess/', 'postprocess/'))
                  and node.op_type in WEIGHTED and node.input[1] in constants]
        calibrator = create_calibrator(prepared, WEIGHTED, str(Path(folder, 'calibration.onnx')))
        calibrator.collect_data(Reader())
        ranges = calibrator.compute_data()

        def quantize(groups: Sequence[Sequence[str]]) -> str:
            names = [name for group in groups for name in group]
            quantizer = QDQQuantizer(
                onnx.load(prepared), per_channel=True,
                reduce_range=True,  # without VNNI, ONNX Runtime's sums of products with 8-bit weights overflow
                weight_qType=QuantType.QInt8, activation_qType=QuantType.QUInt8, tensors_range=ranges,
                nodes_to_quantize=names, nodes_to_exclude=[], op_types_to_quantize=WEIGHTED, extra_options={})
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(quantized))
            return str(quantized)

        size = -(-len(layers) // GROUPS)
        kinds = [[layer.name for layer in layers if layer.op_type == kind] for kind in WEIGHTED]
        groups = [tuple(names[start:start + size]) for names in kinds for start in range(0, len(names), size)]
        kept = []
        if not is_good(quantize(groups)):
            names = outputs_of_network(model)
            expected = run(prepared, names, {source: images[0]})
            costs = {group: change(run(quantize([group]), names, {source: images[0]}), expected) for group in groups}
            groups.sort(key=lambda group: costs[group])
            while len(groups) > 1:  # at least one group stays in int8, even if is_good rejects the file
                kept += groups.pop()
                if is_good(quantize(groups)):
                    break
        shutil.copyfile(quantized, path)
        Path(f'{path}.data').unlink(missing_ok=True)
    return f'{len(layers) - len(kept)} of {len(layers)} layers in int8; in float: {", ".join(kept) or "none"}'


def outputs_of_network(model) -> list[str]:
    """Returns the names of the network's outputs that postprocessing uses; without postprocessing, all outputs."""
    last = [node for node in model.graph.node if node.name.startswith('postprocess/')]
    inner = {name for node in model.graph.node if node.name.startswith('network/') for name in node.output}
    return sorted({name for node in last for name in node.input} & inner) or [v.name for v in model.graph.output]


def change(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Returns the mean norm of the differences, relative to the norm of the expected values."""
    return float(np.mean([np.linalg.norm(ours - theirs) / np.linalg.norm(theirs).clip(1e-12)
                          for ours, theirs in zip(actual, expected)]))


def run(path: str | Path, names: Sequence[str], inputs: dict) -> list[np.ndarray]:
    """Returns intermediate values of a file by name; quantized values are returned after dequantization."""
    import onnx
    model = onnx.load(path)
    inner = {name for node in model.graph.node for name in node.output}
    rounded = [f'{name}_DequantizeLinear_Output' for name in names]
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(after if after in inner else name, onnx.TensorProto.FLOAT, None)
        for name, after in zip(names, rounded))
    return [np.asarray(value) for value in session_of(model.SerializeToString()).run(None, inputs)]
