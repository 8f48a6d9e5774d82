"""Tests `mmvit serve` over HTTP, and in a browser if Chromium and playwright are installed."""
import copy
import io
import json
import re
import shutil
import signal
import socket
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from helpers import ROOT, fresh_model, raises, save_run
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from runs import Run
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.cli import serve
from mmvit_backbones.errors import UsageError
from mmvit_backbones.inference import Detection, Predictor

IMAGE = next((ROOT / 'data/flowers_mini/val').rglob('*.jpg'))
TIMEOUT = 300  # seconds; long enough for a busy machine
CLASSES = (ROOT / 'data/flowers_mini/classes.txt').read_text().split()
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
needs_server = pytest.mark.skipif(not find_spec('fastapi'), reason='fastapi is not installed (requirements/serve.txt)')
needs_forms = pytest.mark.skipif(not find_spec('python_multipart'),
                                 reason='python-multipart is not installed (requirements/serve.txt)')
needs_browser = pytest.mark.skipif(not (BROWSER and find_spec('playwright')), reason='needs chromium and playwright')


def save_classifier(network: str, path: Path) -> Path:
    """Saves a checkpoint with its config, like a training."""
    cfg = Config.fromfile(ROOT / 'configs/demo/imagenet_reswin_t.py')
    channels = fresh_model(network)(torch.zeros(1, 3, 64, 64))[-1].shape[1]
    cfg.model.backbone = dict(type=network, **TINY_CONFIGS[network])
    cfg.model.head.in_channels = channels
    cfg.default_scope = 'mmpretrain'
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    path.parent.mkdir()
    return save_run(cfg, MODELS.build(cfg.model), path, dataset_meta=dict(classes=CLASSES))


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return [save_classifier(network, folder / f'{network}/model.pth') for network in ('ReSwin', 'SwinVSA')]


@pytest.fixture(scope='module')
def models(paths):
    return [serve.Served(path, None, None, 'cpu', False) for path in paths]


def test_timeout_also_limits_a_prediction(paths):
    model, = serve.load_models(serve.get_parser().parse_args([str(paths[0]), '--timeout', '1e-9', '--device', 'cpu']))
    with raises(UsageError, 'time limit'):
        model.predictor(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize('config', ['imagenet_reswin_t', 'own.py'])
def test_a_config_is_not_a_model(config):
    with raises(UsageError, f'--config {config}'):
        serve.load_models(serve.get_parser().parse_args([config]))


@contextmanager
def serving(models, *flags):
    """Serves models in a thread of this process; yields uvicorn's server and its address."""
    server = serve.build_server(models, serve.get_parser().parse_args(['model', *flags]))
    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = Thread(target=server.run, args=([listener], ))
        thread.start()
        try:
            yield server, f'http://127.0.0.1:{listener.getsockname()[1]}'
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope='module')
def address(models):
    """Returns the address of a server that refuses images above a million pixels and files above 2 MB."""
    with serving(models, '--max-megapixels', '1', '--max-megabytes', '2', '--timeout', str(TIMEOUT)) as (_, address):
        yield address


def send(address: str, data: bytes | None = None, method: str | None = None, **headers: str) -> tuple[int, bytes]:
    """Returns the status and body of the response; underscores in header names are sent as hyphens."""
    headers = {name.replace('_', '-'): value for name, value in headers.items()}
    try:
        request = urllib.request.Request(address, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def post(address: str, data: bytes, query: str = '', **headers: str) -> tuple[int, bytes]:
    return send(f'{address}/predict?{query}', data, **headers)


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new('RGB', (width, height)).save(file, 'PNG')
    return file.getvalue()


@needs_server
@pytest.mark.slow
def test_answers(address, paths):
    for number, path in enumerate(paths):
        status, text = post(address, IMAGE.read_bytes(), f'model={number}')
        answer = json.loads(text)
        with Image.open(IMAGE) as image:
            pixels = np.array(image.convert('RGB'))
        expected, = Predictor(path, device='cpu')(IMAGE)
        assert (status, answer['model'], answer['task']) == (200, f'ImageClassifier with {path.stem}', 'classification')
        assert (answer['height'], answer['width']) == pixels.shape[:2]
        assert [one['category'] for one in answer['items']] == [expected.name(label) for label in expected.labels]
        np.testing.assert_allclose([one['score'] for one in answer['items']], expected.scores, atol=2e-3)
        status, drawing = post(address, IMAGE.read_bytes(), f'model={number}&format=png')
        with Image.open(io.BytesIO(drawing)) as drawing:
            assert status == 200 and drawing.format == 'PNG'
            enlarged = np.array(Image.fromarray(pixels).resize(drawing.size))
            assert 0.01 < (np.array(drawing) != enlarged).any(-1).mean() < 1 / 6


@needs_server
@pytest.mark.slow
@pytest.mark.parametrize('data, query, status, message', [
    (b'no image at all', '', 400, 'allowed formats: JPEG, PNG'),
    (b'', '', 400, 'cannot be read'),
    (IMAGE.read_bytes()[:5000], '', 400, 'cannot be read'),
    (bytes(2_000_001), '', 413, 'more than 2 MB'),
    (png(1001, 1000), '', 413, '1001 x 1000 pixels (width x height); the maximum is 1 million'),
    (png(1000, 10), '', 413, 'at most 20 times'),
    (IMAGE.read_bytes(), 'model=2', 422, 'less than 2'),
    (IMAGE.read_bytes(), 'threshold=x', 422, 'threshold'),
    (IMAGE.read_bytes(), 'format=gif', 422, "'json', 'png' or 'both'"),
    (IMAGE.read_bytes(), 'treshold=0.5', 422, 'treshold'),
], ids=['text', 'nothing', 'cut', 'bytes', 'pixels', 'ratio', 'model', 'threshold', 'format', 'mistyped'])
def test_bad_requests_are_errors(address, data, query, status, message):
    answer = post(address, data, query)
    assert answer[0] == status and message in str(json.loads(answer[1])['detail'])


@needs_server
@pytest.mark.slow
def test_requests_at_once_and_memory(address):
    """Sends 20 concurrent requests, then 200 more, which must return equal responses and leak no memory."""
    process = psutil.Process()
    with ThreadPoolExecutor(20) as clients:
        def send_many(number: int) -> list[tuple[int, int]]:
            def answer(_) -> tuple[int, int]:
                status, content = post(address, IMAGE.read_bytes(), 'format=both')
                return status, hash(content)

            return list(clients.map(answer, range(number)))

        assert {status for status, _ in send_many(20)} == {200}
        before = process.memory_info().rss
        answers = send_many(200)
        assert len(answers) == 200 and len(set(answers)) == 1 and answers[0][0] == 200
        assert process.memory_info().rss - before < 20e6


@needs_server
@pytest.mark.slow
def test_other_endpoints(address):
    assert json.loads(send(f'{address}/health')[1]) == dict(status='ok')
    assert send(f'{address}/health', method='HEAD') == (200, b'')
    assert [model['classes'] for model in json.loads(send(f'{address}/models')[1])] == [CLASSES, CLASSES]
    assert json.loads(send(f'{address}/openapi.json')[1])['paths'].keys() == {'/health', '/models', '/predict'}
    assert send(f'{address}/gradio_api/file=http://evil.example')[0] == send(f'{address}/../serve.py')[0] == 404


@needs_server
@pytest.mark.slow
def test_pages_of_other_sites_are_refused(address):
    """Checks that browsers may send requests only from the page or follow links to it; curl sends no such headers."""
    own = address.replace('127.0.0.1', 'localhost')
    for headers, status in [
            (dict(), 200),
            (dict(Host='evil.example'), 400),
            (dict(Origin='http://evil.example'), 403),
            (dict(Origin='http://127.0.0.1:1'), 403),
            (dict(Origin='null'), 403),
            (dict(Origin=own, Host=own.removeprefix('http://')), 200),
            (dict(Sec_Fetch_Site='cross-site'), 403),
            (dict(Sec_Fetch_Site='cross-site', Sec_Fetch_Dest='document'), 403),
            (dict(Sec_Fetch_Site='same-site', Origin='http://127.0.0.1:1'), 403),
            (dict(Sec_Fetch_Site='same-origin', Origin='https://proxy.example'), 200),
            (dict(Sec_Fetch_Site='none'), 200)]:
        assert post(address, IMAGE.read_bytes(), **headers)[0] == status, headers
    assert send(f'{address}/models', Sec_Fetch_Site='cross-site', Sec_Fetch_Dest='image')[0] == 403
    assert send(address, Sec_Fetch_Site='cross-site', Sec_Fetch_Dest='document')[0] == 200


def form(*parts: bytes) -> bytes:
    """Returns a multipart body like that of `curl -F`."""
    disposition = b'Content-Disposition: form-data; name="file"; filename="image.jpg"'
    return b''.join(b'--edge\r\n' + disposition + b'\r\n\r\n' + part + b'\r\n' for part in parts) + b'--edge--\r\n'


@needs_server
@needs_forms
@pytest.mark.slow
def test_forms(address):
    def post_form(data: bytes) -> tuple[int, bytes]:
        return post(address, data, Content_Type='multipart/form-data; boundary=edge')

    assert post_form(form(IMAGE.read_bytes())) == post(address, IMAGE.read_bytes())
    for data in form(), form(b'1', b'2'), form(IMAGE.read_bytes())[:-20], b'', bytes(1000):
        status, text = post_form(data)
        assert status == 400 and 'form' in json.loads(text)['detail']


@needs_server
@pytest.mark.slow
def test_examples_follow_no_link(models, tmp_path):
    (tmp_path / 'examples').mkdir()
    (tmp_path / 'outside.jpg').write_bytes(IMAGE.read_bytes())
    (tmp_path / 'examples/link.jpg').symlink_to('../outside.jpg')
    (tmp_path / 'examples/flower.jpg').write_bytes(IMAGE.read_bytes())
    with serving(models, '--examples', str(tmp_path / 'examples')) as (_, address):
        assert json.loads(send(f'{address}/page/examples')[1]) == ['flower']
        (tmp_path / 'examples/flower.jpg').unlink()
        (tmp_path / 'examples/flower.jpg').symlink_to('../../etc/passwd')
        assert send(f'{address}/page/examples/0') == (200, IMAGE.read_bytes())


@needs_server
def test_time_limits_are_per_request():
    """A client may send many requests over a connection, whose headers arrive quickly."""
    import h11
    wait = serve.protocol_with_timeouts(60.).wait_for_client
    transport = SimpleNamespace(get_write_buffer_size=lambda: 0)
    for state in h11.IDLE, h11.SEND_BODY:
        first, second = (SimpleNamespace(transport=transport, conn=SimpleNamespace(their_state=state), cycle=object())
                         for _ in range(2))
        assert wait(first) == wait(first) and wait(first)[0] != wait(second)[0]


def test_folders_of_examples(tmp_path):
    assert serve.find_examples(None, 'pose') == []
    with raises(UsageError, 'nowhere'):
        serve.find_examples(str(tmp_path / 'nowhere'), 'classification')


@pytest.mark.parametrize('missing', ['fastapi', 'uvicorn'])
def test_missing_packages_are_named(missing, monkeypatch):
    monkeypatch.setattr(serve, 'find_spec', lambda name: name != missing)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with raises(UsageError, 'fastapi', 'uvicorn', 'pip install'):
            serve.main(serve.get_parser().parse_args(['model.pth']))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Held:
    """Wraps a predictor and waits for ``released`` before each prediction."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.task, self.classes = predictor, predictor.task, predictor.classes
        self.palette, self.model = predictor.palette, predictor.model
        self.entered, self.released = Event(), Event()

    def __call__(self, *args, **options) -> list:
        self.entered.set()
        assert self.released.wait(TIMEOUT)
        return self.predictor(*args, **options)


@pytest.fixture
def held(models):
    model = copy.copy(models[0])
    model.predictor = Held(model.predictor)
    yield model
    model.predictor.released.set()


@needs_server
@pytest.mark.slow
def test_full_server_refuses_requests_and_completes_running_ones(held):
    with serving([held], '--queue', '1') as (server, address), ThreadPoolExecutor(1) as client:
        first = client.submit(post, address, IMAGE.read_bytes())
        assert held.predictor.entered.wait(TIMEOUT)
        assert post(address, IMAGE.read_bytes())[0] == 503
        server.should_exit = True  # as SIGTERM does
        wait_until(lambda: not any(listener.is_serving() for listener in server.servers))
        assert not first.done()
        held.predictor.released.set()
        assert first.result()[0] == 200


@needs_server
@pytest.mark.slow
def test_late_answers_are_errors(held):
    with serving([held], '--timeout', '0.1') as (_, address):
        status, text = post(address, IMAGE.read_bytes())
        assert status == 504 and json.loads(text)['detail'] == 'no response within 0.1 seconds'
        held.predictor.released.set()


def place(address: str) -> tuple[str, int]:
    return '127.0.0.1', int(address.rpartition(':')[2])


def wait_until(condition) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def head(request: str, length: int = 0) -> bytes:
    return f'{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n'.encode()


@needs_server
@pytest.mark.slow
def test_clients_that_disconnect(models, tmp_path, monkeypatch, capsys):
    """Checks that clients that disconnect cause no traceback and leave no files."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    with serving(models) as (server, address):
        with socket.create_connection(place(address)) as leaving:
            leaving.sendall(head('POST /predict', IMAGE.stat().st_size) + IMAGE.read_bytes()[:1000])
            wait_until(lambda: server.server_state.tasks)
        wait_until(lambda: not server.server_state.tasks)
        assert post(address, IMAGE.read_bytes())[0] == 200
    assert 'Traceback' not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@needs_server
@pytest.mark.slow
@pytest.mark.parametrize('sent', [head('GET /health')[:-2], head('POST /predict', 10**6), head('POST /health', 10**6)],
                         ids=['headers', 'body', 'body that nobody reads'])
def test_clients_that_do_not_finish(models, monkeypatch, sent):
    """Checks that single bytes do not keep a connection open."""
    monkeypatch.setattr(serve, 'HEADER_SECONDS', 0.2)
    monkeypatch.setattr(serve, 'CLOSE_SECONDS', 0.2)
    with serving(models, '--timeout', '0.2') as (_, address):
        with socket.create_connection(place(address)) as client:
            client.sendall(sent)
            with pytest.raises(ConnectionError):
                wait_until(lambda: client.sendall(b'a'))


@needs_server
@pytest.mark.slow
def test_missing_bodies_time_out(models):
    with serving(models, '--timeout', '0.2') as (_, address):
        with socket.create_connection(place(address), timeout=TIMEOUT) as client:
            client.sendall(head('POST /predict', 10**6))
            assert client.recv(12) == b'HTTP/1.1 504'


@needs_server
@pytest.mark.slow
def test_clients_that_do_not_read(models, tmp_path):
    (tmp_path / 'large.jpg').write_bytes(bytes(30_000_000))  # exceeds the buffers of a connection
    with serving(models, '--timeout', '0.2', '--examples', str(tmp_path)) as (server, address):
        with socket.create_connection(place(address)) as client:
            client.sendall(head('GET /page/examples/0'))
            wait_until(lambda: server.server_state.total_requests)
            wait_until(lambda: not server.server_state.connections)


@needs_server
@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_server(paths, tmp_path, number):
    """Sends the signal as soon as the server prints its address."""
    server = Run(tmp_path / 'log.txt', 'serve', paths[0], '--port', 0, '--device', 'cpu')
    server.wait_for('at http://127.0.0.1:', TIMEOUT)
    server.signal(number)
    assert server.wait(TIMEOUT) == 0, server.text
    assert 'Traceback' not in server.text


@needs_server
@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_loading_of_models(paths, tmp_path, number):
    config = tmp_path / 'waits.py'
    config.write_text(f'import time\nprint("loading", flush=True)\ntime.sleep({TIMEOUT})\n')
    server = Run(tmp_path / 'log.txt', 'serve', paths[0], '--config', config, '--port', 0, '--device', 'cpu')
    server.wait_for('loading', TIMEOUT)
    server.signal(number)
    assert server.wait(TIMEOUT) == -number, server.text
    assert 'Traceback' not in server.text


@pytest.fixture
def page(request):
    """Yields a page of Chromium; the parameter of the test is its width in pixels."""
    from playwright.sync_api import expect, sync_playwright
    expect.set_options(timeout=1000 * TIMEOUT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=['--no-sandbox'])
        page = browser.new_page(viewport=dict(width=request.param, height=800))
        page.set_default_timeout(1000 * TIMEOUT)
        yield page
        browser.close()


@needs_server
@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize('page', [390], indirect=True)
def test_page(page, address, tmp_path):
    """Checks uploads, drawings, attention and errors on the page, which must not load anything from other sites."""
    from playwright.sync_api import expect
    text = tmp_path / 'notes.txt'
    text.write_text('no image at all')
    elsewhere, problems = [], []
    page.on('response', lambda answer: elsewhere.append(answer.url) if answer.url.startswith('http')
            and not answer.url.startswith(address) else None)
    page.on('console', lambda message: problems.append(message.text) if message.type == 'error' else None)
    page.goto(address)
    expect(page.locator('#examples img')).to_have_count(4)
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    page.locator('input[type=file]').set_input_files(IMAGE)
    drawings = page.locator('.prediction')
    expect(drawings).to_have_count(2)
    expect(page.get_by_text(re.compile('daisy')).nth(2)).to_be_visible()
    assert not problems
    for i, visualization in enumerate(page.locator('.visualization').all()):
        drawings.nth(i).press('Enter')
        expect(visualization).to_be_visible()
        visualization.click()
        expect(page.locator('dialog img')).to_be_visible()
        assert page.locator('dialog img').evaluate('image => image.width') > 2 * 390
        page.keyboard.press('Escape')
    assert all('drawn' in drawing.get_attribute('alt') for drawing in drawings.all())
    page.locator('#examples button').first.click()
    expect(page.locator('.visualization').first).to_be_hidden()
    page.locator('input[type=file]').set_input_files(text)
    expect(page.get_by_text('cannot be read')).to_be_visible()
    expect(drawings.first).to_be_hidden()
    assert not elsewhere


class FixedDetector:
    """Predicts two persons side by side in every image."""

    task, classes, palette = 'detection', ['person'], [(200, 0, 0)]

    def __init__(self, model) -> None:
        self.model = model

    def __call__(self, image: np.ndarray, **options) -> list[Detection]:
        height, width = image.shape[:2]
        masks = np.zeros((2, height, width), bool)
        masks[0, :, :width // 2] = masks[1, :, width // 2:] = True
        boxes = np.array([[0, 0, width // 2, height], [width // 2, 0, width, height]])
        return [Detection('0', image, self.classes, self.palette, np.zeros(2, int), np.array([.9, .8]), boxes, masks)]


@needs_server
@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize('page', [1280], indirect=True)
def test_page_shows_one_object_and_saves(page, models):
    """Checks that rows highlight objects, that results can be saved, and that titles do not shift the images."""
    from playwright.sync_api import expect
    detector = copy.copy(models[0])
    detector.predictor, detector.name = FixedDetector(detector.predictor.model), 'A name that needs several lines ' * 5
    with serving([detector, models[1]]) as (_, address):
        page.goto(address)
        page.locator('input[type=file]').set_input_files(IMAGE)
        left, right = page.locator('.prediction').all()
        expect(right).to_be_visible()
        assert left.bounding_box()['y'] == right.bounding_box()['y']
        canvas, row = page.locator('.highlight').first, page.locator('.object').nth(1)
        row.hover()
        expect(canvas).to_be_visible()
        assert canvas.evaluate("""canvas => [0.25, 0.75].map(share => canvas.getContext('2d').getImageData(
            share * canvas.width, canvas.height / 2, 1, 1).data[3] > 0)""") == [True, False]
        row.click()
        page.mouse.move(0, 0)
        row.blur()
        expect(canvas).to_be_visible()
        row.click()
        page.mouse.move(0, 0)
        row.blur()
        expect(canvas).to_be_hidden()
        saved = {}
        for kind in 'drawing', 'numbers':
            with page.expect_download() as download:
                page.locator(f'.save-{kind}').first.click()
            saved[kind] = download.value.path().read_bytes()
        assert json.loads(saved['numbers']) == json.loads(post(address, IMAGE.read_bytes())[1])
        with Image.open(io.BytesIO(saved['drawing'])) as drawing, Image.open(IMAGE) as image:
            assert drawing.width % image.width == 0


@needs_server
@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize('page', [390], indirect=True)
def test_page_hides_the_result_of_another_file(page, held):
    from playwright.sync_api import expect
    held.predictor.released.set()
    with serving([held]) as (_, address):
        page.goto(address)
        page.locator('input[type=file]').set_input_files(IMAGE)
        expect(page.locator('.prediction')).to_be_visible()
        held.predictor.released.clear()
        page.locator('#examples button').first.click()
        expect(page.get_by_text('Predicting')).to_be_visible()
        expect(page.locator('.prediction')).to_be_hidden()
        held.predictor.released.set()
        expect(page.locator('.prediction')).to_be_visible()
