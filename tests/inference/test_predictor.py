"""The Predictor reads images in files, folders and memory."""
import gc
import io
import signal

import numpy as np
import pytest
import torch
from fine_tunings import recipe
from helpers import raises
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from runs import in_own_process
from tiny_configs import TINY_CONFIGS
from tiny_exports import mean_color_file

from mmvit.configs.files import named_configs, read_config
from mmvit.inference import Predictor, read_rgb
from mmvit.inference.outputs import find_sources
from mmvit.inference.runtimes import TestPipeline, installed_runtimes
from mmvit.utils.config_parts import leaf_datasets
from mmvit_backbones.errors import UsageError

IMAGE = np.full((2, 4, 3), 7, dtype=np.uint8)


@pytest.fixture
def file(tmp_path):
    pytest.importorskip('onnx')
    return mean_color_file(tmp_path)


@pytest.mark.parametrize('source, arguments', [
    ('model.onnx', dict(config='imagenet_reswin_t')), ('model.onnx', dict(pretrained=True)),
    ('model.onnx', dict(checkpoint='epoch_1.pth')), ('imagenet_reswin_t', dict(config='imagenet_restv2_t')),
    ('epoch_1.pth', dict(checkpoint='epoch_2.pth'))])
def test_arguments_that_the_source_does_not_use_are_refused(file, source, arguments):
    (name, value), = arguments.items()
    source = file if source == 'model.onnx' else source
    with raises(UsageError, name, value, source):
        Predictor(source, **arguments)


def test_devices(file):
    """ONNX Runtime uses the given device; a device that does not exist or cannot run the file is an error."""
    predictor = Predictor(file, device='cpu')
    assert predictor(IMAGE)[0].scores.tolist() == [7, 7, 7]
    import onnxruntime
    for device in ['nonsense', 'meta', f'cuda:{torch.cuda.device_count()}', *(
            [] if 'CUDAExecutionProvider' in onnxruntime.get_available_providers() else ['cuda'])]:
        with raises(UsageError, 'device', device):
            Predictor(file, device=device)


def test_a_film_is_read_as_its_results_are_taken(file):
    """Memory would grow with it."""
    read = []

    def frames():
        for number in range(7):
            read.append(number)
            yield np.full((2, 4, 3), number, np.uint8)

    results = Predictor(file).stream(frames(), batch_size=2)
    assert not read
    assert next(results).scores.tolist() == [0, 0, 0] and read == [0, 1]
    assert [result.scores[0] for result in results] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize('source, kind', [
    ('https://host/a.jpg', 'address'), ('rtsp://camera/1', 'address'), ('films/cats.MP4', 'film')])
def test_films_and_addresses_are_refused(source, kind, file):
    """As they were given, and with what to do."""
    for call in Predictor(file), lambda path: find_sources([path]):
        with raises(UsageError, f'{source} ', kind, 'Predictor.stream'):
            call(source)


def check_signals(file: str, runtime: str) -> None:
    """Runs in a process of its own, which a wrong stack for signals would end."""
    got = []
    signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    first, second = (Predictor(file, device='cpu', runtime=runtime) for _ in range(2))
    del first
    gc.collect()
    signal.raise_signal(signal.SIGTERM)
    del second
    gc.collect()
    signal.raise_signal(signal.SIGTERM)
    assert got == [1, 1]


@pytest.mark.parametrize('runtime', installed_runtimes())
def test_signals_arrive_after_predictors_are_deleted(runtime, file):
    in_own_process(check_signals, str(file), runtime)


def test_wrong_runtimes_are_refused(file):
    with raises(UsageError, 'runtime', 'tensorrt', 'onnxruntime, openvino'):
        Predictor(file, runtime='tensorrt')
    with raises(UsageError, 'epoch_1.pth', 'mmvit export'):
        Predictor('epoch_1.pth', runtime='tensorrt')


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_sources(file, tmp_path):
    """Folders are searched, unreadable files stop a call, and batches do not change the results."""
    (tmp_path / 'images/deeper').mkdir(parents=True)
    for number, side in enumerate((3, 3, 5)):
        Image.new('RGB', (side, 2), (100 * number, 7, 9)).save(tmp_path / f'images/deeper/{number}.png')
    predictor = Predictor(file)
    one, many = (predictor(tmp_path / 'images', batch_size=size) for size in (1, 4))
    assert [result.source.rpartition('/')[2] for result in one] == ['0.png', '1.png', '2.png']
    assert [result.to_dict() for result in one] == [result.to_dict() for result in many]
    (tmp_path / 'images/damaged.jpg').write_bytes(b'text')
    with raises(UsageError, 'damaged.jpg cannot be read') as caught:
        predictor(tmp_path / 'images')
    assert str(caught.value).startswith('image ')
    with raises(UsageError, 'missing.jpg'):
        predictor('missing.jpg')
    with raises(UsageError, 'uint8', 'float32'):
        predictor(IMAGE.astype('float32'))


def test_images_in_memory(file, tmp_path):
    """Bytes, Pillow images and arrays give the same results as a path."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / 'turned.png', Image.fromarray(np.arange(120, dtype=np.uint8).reshape(5, 8, 3)), exif=exif)
    predictor, content = Predictor(file), path.read_bytes()
    expected, = predictor(path)
    assert expected.image.shape == (8, 5, 3)
    with Image.open(path) as image, open(path, 'rb') as opened, open(path, 'rb') as again:
        sources = [content, image, expected.image, str(path)]
        results = [*predictor(sources), *(found for source in sources for found in predictor(source)),
                   *predictor(io.BytesIO(content)), *predictor([opened, content]), *predictor(again)]
    for result in results:
        np.testing.assert_array_equal(result.image, expected.image)
        np.testing.assert_array_equal(result.scores, expected.scores)
    for wrong in None, 1.5, [content, None], object(), io.StringIO(str(path)):
        with raises(UsageError, 'bytes', 'path'):
            predictor(wrong)
    for wrong in b'text', Image.new('RGB', (0, 3)):
        with raises(UsageError, 'image 0'):
            predictor(wrong)


@pytest.mark.filterwarnings('ignore::UserWarning')  # Pillow warns about some damaged files
def test_damaged_exif_does_not_stop_the_prediction(file, tmp_path):
    """A wrong value in any byte of EXIF does not stop the prediction; neither does a folder named like an image."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011a] = 6, 72.0
    content = save(tmp_path / 'whole.jpg', Image.fromarray(IMAGE), exif=exif).read_bytes()
    assert Predictor(file)(content)[0].image.shape == (4, 2, 3)
    (tmp_path / 'images/folder.jpg').mkdir(parents=True)
    places = range(content.index(b'Exif'), content.index(b'Exif') + 52)
    for place in places:
        for value in 0, 7, 255:
            name = tmp_path / f'images/{place}_{value}.jpg'
            name.write_bytes(content[:place] + bytes([value]) + content[place + 1:])
    assert len(Predictor(file)(tmp_path / 'images', batch_size=64)) == 3 * len(places)


def untrained(tmp_path, task: str, backbone: dict, **options) -> Predictor:
    """Returns a predictor of a recipe with a changed backbone and random weights."""
    cfg = recipe(tmp_path, task, dict(type='ResT', **TINY_CONFIGS['ResT']), size=64, **options)
    cfg.model.backbone.update(backbone)
    if bands := backbone.get('in_channels'):
        place = cfg if 'data_preprocessor' in cfg else cfg.model
        place.data_preprocessor.update(mean=[0.] * bands, std=[1.] * bands, to_rgb=False)
    cfg.dump(tmp_path / 'config.py')
    init_default_scope(cfg.default_scope)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'weights.pth')
    return Predictor(tmp_path / 'weights.pth', str(tmp_path / 'config.py'))


def test_a_model_of_four_bands_is_named(tmp_path, frameworks):
    predictor = untrained(tmp_path, 'class_folder', dict(in_channels=4))
    with raises(UsageError, 'the model failed', 'model.backbone.in_channels is 4', 'RGB', 'mmvit test'):
        predictor(IMAGE)


def test_the_ids_of_a_folders_categories_are_known(tmp_path, frameworks):
    assert untrained(tmp_path, 'coco_folder', {}, light=True).category_ids[-1] == 90  # of COCO's 80 classes


@pytest.mark.slow
@pytest.mark.enumerates
def test_predictions_see_the_pixels_of_the_test(tmp_path, frameworks):
    """Of all configs, also where they are floats before they are resized."""
    path = tmp_path / 'a.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (97, 130, 3), dtype=np.uint8)).save(path)
    pipelines = {}
    for cfg in filter(lambda cfg: cfg.get('test_dataloader'), map(read_config, named_configs())):
        steps = leaf_datasets(cfg.test_dataloader.dataset)[0].pipeline
        pipelines[cfg.default_scope, str(steps)] = steps
    assert {steps[0].get('to_float32') for steps in pipelines.values()} == {None, True}
    for (framework, _), steps in pipelines.items():
        init_default_scope(framework)
        whole = Compose([step for step in steps if not step.type.endswith('LoadAnnotations')])
        expected = whole(dict(img_path=str(path), img_id=0))['inputs']
        actual = TestPipeline(steps)(np.array(read_rgb(path)))['inputs']
        assert actual.dtype == expected.dtype and torch.equal(actual, expected)


@pytest.mark.parametrize('step, words', [
    (dict(type='mmdet.LoadImageFromNDArray'), ['LoadImageFromNDArray']), (None, ['begin', 'None']),
    (dict(type='LoadImageFromFile', color_type='grayscale'), ['color_type', 'grayscale', 'mmvit test']),
    (dict(type='LoadImageFromFile', imdecode_backend='pillow'), ['imdecode_backend', 'pillow'])])
def test_what_predictions_do_not_read_is_named(step, words):
    with raises(UsageError, 'LoadImageFromFile', *words):
        TestPipeline([step] if step else [])
