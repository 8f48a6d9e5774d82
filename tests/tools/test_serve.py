"""tools/serve.py: over HTTP, and in a browser where one and playwright are installed."""
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

import numpy as np
import psutil
import pytest
import serve
import torch
from helpers import ROOT, fresh_model
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from runs import Run
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.inference import Predictor

IMAGE = next((ROOT / 'data/flowers_mini/val').rglob('*.jpg'))
TIMEOUT = 300  # seconds, on a busy machine
CLASSES = (ROOT / 'data/flowers_mini/classes.txt').read_text().split()
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
needs_server = pytest.mark.skipif(not find_spec('fastapi'), reason='fastapi is not installed (requirements/serve.txt)')
needs_browser = pytest.mark.skipif(not (BROWSER and find_spec('playwright')), reason='needs chromium and playwright')


def save_classifier(network: str, path: Path) -> Path:
    """A checkpoint with its config, as a training writes it."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/demo_imagenet.py')
    channels = fresh_model(network)(torch.zeros(1, 3, 64, 64))[-1].shape[1]
    cfg.model.backbone = dict(type=network, **TINY_CONFIGS[network])
    cfg.model.head.in_channels = channels
    cfg.default_scope = 'mmpretrain'
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(),
                    meta=dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=CLASSES))), path)
    return path


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return [save_classifier(network, folder / f'{network}.pth') for network in ('ReSwin', 'SwinVSA')]


@pytest.fixture(scope='module')
def models(paths):
    return [serve.Served(path, None, None, 'cpu', False) for path in paths]


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


def post(address: str, data: bytes, query: str = '') -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f'{address}/predict?{query}', data, timeout=TIMEOUT) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


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
    (b'no image at all', '', 400, 'allowed are JPEG, PNG'),
    (b'', '', 400, 'cannot be read'),
    (IMAGE.read_bytes()[:5000], '', 400, 'cannot be read'),
    (bytes(2_000_001), '', 413, 'more than 2 MB'),
    (png(1001, 1000), '', 413, '1001 x 1000 pixels; allowed are 1e+06'),
    (png(1000, 10), '', 413, 'a ratio of 20'),
    (IMAGE.read_bytes(), 'model=2', 422, 'less than 2'),
    (IMAGE.read_bytes(), 'threshold=x', 422, 'threshold'),
    (IMAGE.read_bytes(), 'format=gif', 422, "'json', 'png' or 'both'"),
    (IMAGE.read_bytes(), 'treshold=0.5', 422, 'treshold'),
], ids=['text', 'nothing', 'cut', 'bytes', 'pixels', 'ratio', 'model', 'threshold', 'format', 'mistyped'])
def test_bad_requests_are_told(address, data, query, status, message):
    answer = post(address, data, query)
    assert answer[0] == status and message in str(json.loads(answer[1])['detail'])


@needs_server
@pytest.mark.slow
def test_requests_at_once_and_memory(address):
    """20 at once get the same answer each; 200 more leak no memory."""
    process = psutil.Process()
    with ThreadPoolExecutor(20) as clients:
        def send(number: int) -> list[tuple[int, int]]:
            def answer(_) -> tuple[int, int]:
                status, content = post(address, IMAGE.read_bytes(), 'format=both')
                return status, hash(content)

            return list(clients.map(answer, range(number)))

        assert {status for status, _ in send(20)} == {200}
        before = process.memory_info().rss
        answers = send(200)
        assert len(answers) == 200 and len(set(answers)) == 1 and answers[0][0] == 200
        assert process.memory_info().rss - before < 20e6


@needs_server
@pytest.mark.slow
def test_interface_describes_itself(address):
    def get(path: str, **headers) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(urllib.request.Request(address + path, headers=headers)) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    assert json.loads(get('/health')[1]) == dict(status='ok')
    assert [model['classes'] for model in json.loads(get('/models')[1])] == [CLASSES, CLASSES]
    assert json.loads(get('/openapi.json')[1])['paths'].keys() == {'/health', '/models', '/predict'}
    assert get('/health', Host='evil.example')[0] == 400
    assert get('/gradio_api/file=http://evil.example')[0] == get('/../serve.py')[0] == 404


class Held:
    """A predictor that waits."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.task, self.entered, self.go_on = predictor, predictor.task, Event(), Event()

    def __call__(self, *args, **options) -> list:
        self.entered.set()
        assert self.go_on.wait(TIMEOUT)
        return self.predictor(*args, **options)


@pytest.fixture
def held(models):
    model = copy.copy(models[0])
    model.predictor = Held(model.predictor)
    yield model
    model.predictor.go_on.set()


@needs_server
@pytest.mark.slow
def test_full_server_refuses_and_ends_with_what_runs(held):
    with serving([held], '--queue', '1') as (server, address), ThreadPoolExecutor(1) as client:
        first = client.submit(post, address, IMAGE.read_bytes())
        assert held.predictor.entered.wait(TIMEOUT)
        assert post(address, IMAGE.read_bytes())[0] == 503
        server.should_exit = True  # as SIGTERM does
        while any(listener.is_serving() for listener in server.servers):
            time.sleep(0.01)
        assert not first.done()
        held.predictor.go_on.set()
        assert first.result()[0] == 200


@needs_server
@pytest.mark.slow
def test_late_answers_are_errors(held):
    with serving([held], '--timeout', '0.1') as (_, address):
        status, text = post(address, IMAGE.read_bytes())
        assert status == 504 and json.loads(text)['detail'] == 'no answer within 0.1 seconds'
        held.predictor.go_on.set()


@needs_server
@pytest.mark.slow
def test_clients_that_leave(models, tmp_path, monkeypatch, capsys):
    """They cause no traceback and leave no file; a connection without all of its headers is closed."""
    monkeypatch.setattr(serve, 'HEADER_SECONDS', 0.2)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    head = f'POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {IMAGE.stat().st_size}\r\n\r\n'.encode()
    with serving(models) as (server, address):
        place = '127.0.0.1', int(address.rpartition(':')[2])
        with socket.create_connection(place, timeout=TIMEOUT) as unfinished:
            unfinished.sendall(head[:-2])
            assert unfinished.recv(1) == b''
        with socket.create_connection(place) as leaving:
            leaving.sendall(head + IMAGE.read_bytes()[:1000])
            while not server.server_state.tasks:
                time.sleep(0.01)
        while server.server_state.tasks:
            time.sleep(0.01)
        assert post(address, IMAGE.read_bytes())[0] == 200
    assert 'Traceback' not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@needs_server
@pytest.mark.slow
def test_signal_ends_the_tool(paths, tmp_path):
    server = Run(tmp_path / 'log.txt', 'serve.py', paths[0], '--port', 0, '--device', 'cpu')
    server.wait_for('at http://127.0.0.1:', TIMEOUT)
    server.signal(signal.SIGTERM)
    assert server.wait(TIMEOUT) == 0, server.text
    assert 'Traceback' not in server.text


@needs_server
@needs_browser
@pytest.mark.slow
def test_page(address, tmp_path):
    """Upload, drawings of both models, what they look at, an error for a text file; nothing comes from elsewhere."""
    from playwright.sync_api import expect, sync_playwright
    text = tmp_path / 'notes.txt'
    text.write_text('no image at all')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=['--no-sandbox'])
        page = browser.new_page(viewport=dict(width=390, height=800))
        page.set_default_timeout(1000 * TIMEOUT)
        expect.set_options(timeout=1000 * TIMEOUT)
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
        for i, looked in enumerate(page.locator('.looked').all()):
            drawings.nth(i).press('Enter')
            expect(looked).to_be_visible()
        assert all('drawn' in drawing.get_attribute('alt') for drawing in drawings.all())
        page.locator('#examples button').first.click()
        expect(page.locator('.looked').first).to_be_hidden()
        page.locator('input[type=file]').set_input_files(text)
        expect(page.get_by_text('cannot be read')).to_be_visible()
        browser.close()
    assert not elsewhere
