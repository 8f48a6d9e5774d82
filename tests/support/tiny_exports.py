"""Writes small exported files without an exporter."""
import json
from pathlib import Path

import numpy as np

from mmvit.inference.runtimes import DETAILS

DETAILS_OF_COLORS = dict(task='classification', classes=['red', 'green', 'blue'], palette=[])


def write_classifier(folder: Path, nodes: list, details: dict = DETAILS_OF_COLORS, **constants: np.ndarray) -> Path:
    """Writes an ONNX classifier whose ``nodes`` compute ``scores`` from ``images``, ``(B, H, W, 3)``, uint8.

    ``floats`` are the same images in float32.
    """
    import onnx
    from onnx import helper
    nodes = [helper.make_node('Cast', ['images'], ['floats'], to=onnx.TensorProto.FLOAT), *nodes]
    images = helper.make_tensor_value_info('images', onnx.TensorProto.UINT8, ['batch', 'height', 'width', 3])
    scores = helper.make_tensor_value_info('scores', onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, 'classifier', [images], [scores], [
        onnx.numpy_helper.from_array(value, name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    helper.set_model_props(model, {DETAILS: json.dumps(details)})
    onnx.save(model, folder / 'model.onnx')
    return folder / 'model.onnx'


def mean_color_file(folder: Path, details: dict = DETAILS_OF_COLORS) -> Path:
    """Writes an ONNX classifier whose scores for red, green and blue are an image's mean color."""
    from onnx import helper
    return write_classifier(folder, [helper.make_node('ReduceMean', ['floats', 'axes'], ['scores'], keepdims=0)],
                            details, axes=np.array([1, 2]))


def box_file(folder: Path, classes: list[str], label: int, score: float, box: list[float]) -> Path:
    """Writes an ONNX detector that finds the same object in every image."""
    import onnx
    from onnx import helper
    found = dict(labels=np.array([label]), scores=np.array([score], np.float32), boxes=np.array([box], np.float32))
    values = {name: onnx.numpy_helper.from_array(value, name) for name, value in found.items()}
    graph = helper.make_graph(
        [helper.make_node('Constant', [], [name], value=value) for name, value in values.items()], 'detector',
        [helper.make_tensor_value_info('image', onnx.TensorProto.UINT8, ['height', 'width', 3])],
        [helper.make_tensor_value_info(name, value.data_type, list(value.dims)) for name, value in values.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    helper.set_model_props(model, {DETAILS: json.dumps(dict(task='detection', classes=classes, palette=[]))})
    onnx.save(model, folder / 'model.onnx')
    return folder / 'model.onnx'
