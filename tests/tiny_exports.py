"""Writes small exported files without an exporter."""
import json
from pathlib import Path

from mmvit_backbones.inference.runtimes import DETAILS


def mean_color_file(folder: Path) -> Path:
    """Writes an ONNX classifier whose scores for red, green and blue are an image's mean color."""
    import onnx
    from onnx import helper
    images = helper.make_tensor_value_info('images', onnx.TensorProto.UINT8, ['batch', 'height', 'width', 3])
    scores = helper.make_tensor_value_info('scores', onnx.TensorProto.FLOAT, ['batch', 3])
    axes = helper.make_tensor('axes', onnx.TensorProto.INT64, [2], [1, 2])
    nodes = [helper.make_node('Cast', ['images'], ['floats'], to=onnx.TensorProto.FLOAT),
             helper.make_node('ReduceMean', ['floats', 'axes'], ['scores'], keepdims=0)]
    graph = helper.make_graph(nodes, 'mean_color', [images], [scores], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    details = dict(task='classification', classes=['red', 'green', 'blue'], palette=[], outputs=[dict(name='scores')],
                   input=dict(name='images'), preprocessing=dict(inside=True))
    helper.set_model_props(model, {DETAILS: json.dumps(details)})
    onnx.save(model, folder / 'model.onnx')
    return folder / 'model.onnx'
