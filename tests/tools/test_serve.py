"""tools/serve.py: over HTTP, and in a browser where one and playwright are installed."""
import asyncio
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from helpers import ROOT, fresh_model
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.inference import load

IMAGE = next((ROOT / 'data/flowers_mini/val').rglob('*.jpg'))
TIMEOUT = 300  # seconds, on a busy machine
CLASSES = (ROOT / 'data/flowers_mini/classes.txt').read_text().split()
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
needs_gradio = pytest.mark.skipif(not find_spec('gradio'), reason='gradio is not installed (requirements/serve.txt)')
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
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return [save_classifier(network, folder / f'{network}.pth') for network in ('ReSwin', 'SwinVSA')]


@pytest.fixture(scope='module')
def server(models):
    """The process and its address; images of more than a million pixels and files of more than 2 MB are refused."""
    process = subprocess.Popen(
        [sys.executable, 'tools/serve.py', *map(str, models), '--port', '0', '--max-megapixels', '1',
         '--max-megabytes', '2', '--timeout', str(TIMEOUT)], cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if match := re.search(r'at (http://127\.0\.0\.1:\d+)', line):
            yield psutil.Process(process.pid), match[1]
            break
    else:
        pytest.fail(f'the server did not start: {lines}')
    process.terminate()
    process.wait(timeout=30)
    process.stdout.close()


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


@needs_gradio
@pytest.mark.slow
def test_answers(server, models):
    _, address = server
    for number, path in enumerate(models):
        status, text = post(address, IMAGE.read_bytes(), f'model={number}')
        answer = json.loads(text)
        with Image.open(IMAGE) as image:
            model, pixels = load(path), np.array(image.convert('RGB'))
        expected = model.predict(pixels)
        assert (status, answer['model'], answer['task']) == (200, path.stem, 'classification')
        assert (answer['height'], answer['width']) == pixels.shape[:2]
        assert [one['label'] for one in answer['results']] == [model.classes[i] for i in expected['labels']]
        np.testing.assert_allclose([one['score'] for one in answer['results']], expected['scores'], atol=2e-3)
        status, drawing = post(address, IMAGE.read_bytes(), f'model={number}&format=png')
        with Image.open(io.BytesIO(drawing)) as drawing:
            assert status == 200 and drawing.format == 'PNG' and drawing.size == pixels.shape[1::-1]
            assert (np.array(drawing) != pixels).any(-1).mean() > 0.01


@needs_gradio
@pytest.mark.slow
@pytest.mark.parametrize('data, query, status, message', [
    (b'no image at all', '', 400, 'is not an image; allowed are JPEG, PNG'),
    (b'', '', 400, 'is not an image'),
    (IMAGE.read_bytes()[:5000], '', 400, 'is damaged'),
    (bytes(2_000_001), '', 413, 'more than 2 MB'),
    (png(1001, 1000), '', 413, '1001 x 1000 pixels; allowed are 1 million'),
    (png(1000, 10), '', 400, 'a ratio of 20'),
    (IMAGE.read_bytes(), 'model=2', 422, 'less than 2'),
    (IMAGE.read_bytes(), 'threshold=x', 422, 'threshold'),
    (IMAGE.read_bytes(), 'format=gif', 422, "'json' or 'png'"),
], ids=['text', 'nothing', 'cut', 'bytes', 'pixels', 'ratio', 'model', 'threshold', 'format'])
def test_bad_requests_are_told(server, data, query, status, message):
    answer = post(server[1], data, query)
    assert answer[0] == status and message in str(json.loads(answer[1])['detail'])


@needs_gradio
@pytest.mark.slow
def test_requests_at_once_and_memory(server):
    """20 at once get the same answer each; 200 more leak no memory."""
    process, address = server
    with ThreadPoolExecutor(20) as clients:
        def send(number: int) -> list[tuple[int, bytes]]:
            return list(clients.map(lambda i: post(address, IMAGE.read_bytes(), 'format=png'), range(number)))

        assert {status for status, _ in send(20)} == {200}
        before = process.memory_info().rss
        answers = send(200)
        assert len(answers) == 200 and len(set(answers)) == 1 and answers[0][0] == 200
        assert process.memory_info().rss - before < 20e6


def test_workers_refuse_what_they_cannot_do():
    tool = runpy.run_path(str(ROOT / 'tools/serve.py'))
    workers, go = tool['Workers'](number=1, queue=2, timeout=0.2), threading.Event()

    async def calls():
        late = [asyncio.create_task(workers.call(go.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(tool['Refused'], match='2 requests are waiting') as refused:
            await workers.call(int)
        assert refused.value.status == 503
        for reason in await asyncio.gather(*late, return_exceptions=True):
            assert reason.status == 504 and 'within 0.2 seconds' in str(reason)
        go.set()
        workers.timeout = 30
        workers.pool.submit(int).result()  # the one that could not be stopped is done
        assert await workers.call(lambda: 7) == 7

    asyncio.run(calls())
    workers.pool.shutdown()


@needs_gradio
@needs_browser
@pytest.mark.slow
def test_page(server, tmp_path):
    """Upload, drawings of both models, what they look at, an error for a text file; nothing comes from elsewhere."""
    from playwright.sync_api import expect, sync_playwright
    text = tmp_path / 'notes.txt'
    text.write_text('no image at all')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=['--no-sandbox'])
        page = browser.new_page()
        page.set_default_timeout(1000 * TIMEOUT)
        expect.set_options(timeout=1000 * TIMEOUT)
        elsewhere = []
        page.on('response', lambda answer: elsewhere.append(answer.url) if answer.url.startswith('http')
                and not answer.url.startswith(server[1]) else None)
        page.goto(server[1])
        page.locator('input[type=file]').first.set_input_files(IMAGE)
        drawings = page.locator('.prediction img')
        expect(drawings).to_have_count(2)
        expect(page.get_by_text(re.compile('daisy')).first).to_be_visible()
        for i, looked in enumerate(page.locator('.looked').all()):
            drawings.nth(i).click()
            expect(looked.locator('img')).to_be_visible()
        page.get_by_label('Clear').first.click()
        expect(drawings).to_have_count(0)
        page.locator('input[type=file]').first.set_input_files(text)
        expect(page.get_by_text('the file is not an image')).to_be_visible()
        browser.close()
    assert not elsewhere
