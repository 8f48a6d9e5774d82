"""Files that need unlimited time or memory are refused, or stopped with a one-line error."""
import json
import resource

import numpy as np
import pytest
import torch
from helpers import raises
from hostile_configs import MODEL, VALID, checkpoint_of

from mmvit_backbones.errors import UsageError
from mmvit_backbones.inference import Predictor
from mmvit_backbones.inference.runtimes import DETAILS

IMAGE = np.full((3, 5, 3), 7, np.uint8)
CLASSIFIER = dict(task='classification', classes=['red', 'green', 'blue'], palette=[], outputs=[dict(name='scores')],
                  input=dict(name='images'), preprocessing=dict(inside=True))


def onnx_file(path, nodes: list, constants: dict[str, np.ndarray], details: dict = CLASSIFIER, functions: list = ()):
    """Writes a classifier whose ``nodes`` compute ``scores`` from ``floats``, the images as floating-point numbers."""
    onnx = pytest.importorskip('onnx')
    helper, types = onnx.helper, onnx.TensorProto
    inputs = [helper.make_tensor_value_info('images', types.UINT8, ['batch', 'height', 'width', 3])]
    outputs = [helper.make_tensor_value_info('scores', types.FLOAT, None)]
    graph = helper.make_graph(
        [helper.make_node('Cast', ['images'], ['floats'], to=types.FLOAT), *nodes], 'graph', inputs, outputs,
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()])
    model = helper.make_model(graph, functions=functions, ir_version=9, opset_imports=[
        helper.make_opsetid('', 18), helper.make_opsetid('own', 1)])
    helper.set_model_props(model, {DETAILS: json.dumps(details)})
    onnx.save(model, path)
    return path


def loop():
    from onnx import TensorProto, helper
    condition = helper.make_tensor_value_info('condition', TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node('Identity', ['condition'], ['again']), helper.make_node('Exp', ['value'], ['next'])], 'body',
        [helper.make_tensor_value_info('number', TensorProto.INT64, []), condition,
         helper.make_tensor_value_info('value', TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info('again', TensorProto.BOOL, []),
         helper.make_tensor_value_info('next', TensorProto.FLOAT, None)])
    return helper.make_node('Loop', ['count', 'true', 'floats'], ['scores'], body=body)


def test_onnx_with_loops_or_functions_is_refused(tmp_path):
    pytest.importorskip('onnx')
    from onnx import helper
    constants = dict(count=np.array(2**40), true=np.array(True))
    with raises(UsageError, 'model.onnx', 'Loop'):
        Predictor(onnx_file(tmp_path / 'model.onnx', [loop()], constants))
    function = helper.make_function('own', 'Twice', ['x'], ['y'], [helper.make_node('Identity', ['x'], ['y'])],
                                    [helper.make_opsetid('', 18)])
    node = helper.make_node('Twice', ['floats'], ['scores'], domain='own')
    with raises(UsageError, 'model.onnx', 'Twice'):
        Predictor(onnx_file(tmp_path / 'model.onnx', [node], {}, functions=[function]))


def test_a_broken_onnx_file_is_refused(tmp_path):
    pytest.importorskip('onnx')
    (tmp_path / 'model.onnx').write_bytes(b'broken')
    with raises(UsageError, 'model.onnx', 'not a valid ONNX file') as caught:
        Predictor(tmp_path / 'model.onnx')
    assert '\n' not in str(caught.value)


def test_onnx_gets_no_more_memory_than_the_limit(tmp_path):
    pytest.importorskip('onnx')
    from onnx import helper
    nodes = [helper.make_node('ReduceMean', ['floats'], ['mean'], keepdims=0),
             helper.make_node('Expand', ['mean', 'shape'], ['scores'])]
    predictor = Predictor(onnx_file(tmp_path / 'model.onnx', nodes, dict(shape=np.array([2**17, 2**16]))))  # 32 GiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with raises(UsageError, 'the model failed') as caught:
        predictor(IMAGE)
    assert '\n' not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB


def test_onnx_gets_no_more_time_than_the_limit(tmp_path):
    """Matrix products that would take minutes are stopped after half a second."""
    pytest.importorskip('onnx')
    from onnx import helper
    nodes = [helper.make_node('ReduceMean', ['floats'], ['mean'], keepdims=0),
             helper.make_node('Expand', ['mean', 'shape'], ['value0'])]
    nodes += [helper.make_node('MatMul', [f'value{i}', f'value{i}'], [f'value{i + 1}']) for i in range(2000)]
    nodes.append(helper.make_node('Identity', ['value2000'], ['scores']))
    path = onnx_file(tmp_path / 'model.onnx', nodes, dict(shape=np.array([1500, 1500])))
    with raises(UsageError, 'no prediction within 0.5 seconds'):
        Predictor(path, timeout=0.5)(IMAGE)


@pytest.mark.parametrize('change', [
    dict(classes='/etc/passwd'), dict(classes=[1, 2]), dict(classes=['x' * 1000]), dict(palette=[[0, 0, 10**9]]),
    dict(outputs=7), dict(outputs=[{}]), dict(task=None, preprocessing=7)], ids=str)
def test_wrong_details_in_a_file_are_refused(change, tmp_path):
    pytest.importorskip('onnx')
    from onnx import helper
    nodes = [helper.make_node('ReduceMean', ['floats'], ['scores'], keepdims=0)]
    with raises(UsageError, 'model.onnx'):
        Predictor(onnx_file(tmp_path / 'model.onnx', nodes, {}, {**CLASSIFIER, **change}))


def test_a_file_without_metadata_is_refused(tmp_path):
    onnx = pytest.importorskip('onnx')
    path = onnx_file(tmp_path / 'model.onnx', [onnx.helper.make_node('ReduceMean', ['floats'], ['scores'])], {})
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with raises(UsageError, 'model.onnx', 'no metadata', 'mmvit export CHECKPOINT FILE'):
        Predictor(path)


def test_a_checkpoint_gets_no_more_time_than_the_limit(tmp_path):
    pytest.importorskip('mmpretrain')
    torch.save(checkpoint_of(VALID), tmp_path / 'model.pth')
    assert Predictor(tmp_path / 'model.pth')(IMAGE)[0].scores.sum() == pytest.approx(1)
    with raises(UsageError, 'time limit'):
        Predictor(tmp_path / 'model.pth', timeout=0)(IMAGE)


def test_an_error_of_the_model_is_one_line(tmp_path):
    pytest.importorskip('mmpretrain')
    torch.save(checkpoint_of(dict(VALID, model=dict(MODEL, neck=None))), tmp_path / 'model.pth')
    with raises(UsageError, 'the model failed') as caught:
        Predictor(tmp_path / 'model.pth')(IMAGE)
    assert '\n' not in str(caught.value)


def test_an_image_that_fails_does_not_stop_the_rest_of_its_batch(tmp_path):
    """The network accepts only images that are five pixels wide."""
    pytest.importorskip('onnx')
    from onnx import helper
    nodes = [helper.make_node('Add', ['floats', 'row'], ['sums']),
             helper.make_node('ReduceMean', ['sums', 'axes'], ['scores'], keepdims=0)]
    constants = dict(row=np.ones((5, 1), np.float32), axes=np.array([1, 2]))
    predictor = Predictor(onnx_file(tmp_path / 'model.onnx', nodes, constants))
    images = [np.full((3, width, 3), width, np.uint8) for width in (5, 4, 5)]
    for batch_size in 1, 2, 3:
        found = list(predictor.stream(images, batch_size))
        assert [result and result.scores.tolist() for _, result in found] == [[6] * 3, None, [6] * 3]
        assert 'the model failed' in found[1][0].error and not found[0][0].error and not found[2][0].error
