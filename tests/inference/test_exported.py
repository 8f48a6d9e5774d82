"""Exported files can be copied, and end in a one-line error if they are invalid, too new or fail on an image."""
import pickle

import numpy as np
import pytest
from helpers import raises
from PIL import Image
from tiny_exports import mean_color_file, write_classifier

from mmvit.inference import Predictor
from mmvit.inference.outputs import write_predictions
from mmvit.inference.runtimes import installed_runtimes
from mmvit_backbones.errors import UsageError


def test_a_broken_onnx_file_is_refused(tmp_path):
    pytest.importorskip('onnx')
    (tmp_path / 'model.onnx').write_bytes(b'broken')
    with raises(UsageError, 'model.onnx', 'onnxruntime') as caught:
        Predictor(tmp_path / 'model.onnx')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('runtime', installed_runtimes())
def test_a_predictor_of_a_file_can_be_copied(runtime, tmp_path, monkeypatch):
    monkeypatch.chdir(mean_color_file(tmp_path).parent)
    predictor = Predictor('model.onnx', device='cpu', runtime=runtime)
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 3), np.uint8)
    monkeypatch.chdir('/')
    again = pickle.loads(pickle.dumps(predictor))
    assert again.model.runtime == runtime
    for each in again, predictor:
        scores = dict(zip(each(image)[0].labels, each(image)[0].scores))
        assert [scores[color] for color in range(3)] == pytest.approx(image.mean((0, 1)).tolist())


@pytest.mark.parametrize('details', [{}, dict(task='poetry')], ids=str)
def test_a_file_without_metadata_of_a_model_is_refused(details, tmp_path):
    pytest.importorskip('onnx')
    with raises(UsageError, 'model.onnx', 'no metadata', 'mmvit export CHECKPOINT FILE'):
        Predictor(mean_color_file(tmp_path, details))


def test_an_image_that_fails_does_not_stop_the_rest_of_its_batch(tmp_path):
    """The network accepts only images that are five pixels wide."""
    pytest.importorskip('onnx')
    from onnx import helper
    nodes = [helper.make_node('Add', ['floats', 'row'], ['sums']),
             helper.make_node('ReduceMean', ['sums', 'axes'], ['scores'], keepdims=0)]
    constants = dict(row=np.ones((5, 1), np.float32), axes=np.array([1, 2]))
    predictor = Predictor(write_classifier(tmp_path, nodes, **constants))
    names = {str(tmp_path / f'{number}.png'): str(number) for number in range(3)}
    for name, width in zip(names, (5, 4, 5)):
        Image.new('RGB', (width, 3), (5, 5, 5)).save(name)
    for batch_size in 1, 2, 3:
        first, second, third = write_predictions(predictor, names, tmp_path / 'drawn', batch_size=batch_size)
        assert first.result.scores.tolist() == third.result.scores.tolist() == [6] * 3
        assert '1.png' in second.error and 'the model failed' in second.error and second.result is None
