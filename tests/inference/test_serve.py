"""`mmvit serve` answers Gradio's client, and its page loads nothing from other sites."""
import gc
import json
import re
import socket
import urllib.request

import pytest
import torch
from helpers import ROOT, raises
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from subcommands import call
from tiny_exports import mean_color_file

from mmvit.inference.serving import Served, find_spec, load_models, serve
from mmvit_backbones.errors import CheckpointError, UsageError

ARCH = dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2], mlp_ratio=1, window_size=7)
needs_gradio = pytest.mark.skipif(not find_spec('gradio'), reason='make test-extras runs the tests with Gradio')


def segmenter(network: str, folder) -> list[str]:
    """Writes a segmenter with random weights; returns its checkpoint and its config."""
    cfg = Config.fromfile(ROOT / 'tests/configs/upernet_reswin_t_camvid.py')
    cfg.model.update(backbone=dict(type=network, out_indices=(0, 1), arch=ARCH), auxiliary_head=None)
    cfg.model.decode_head.update(in_channels=[8, 16], in_index=[0, 1], channels=8)
    init_default_scope('mmseg')
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), folder / f'{network}.pth')
    cfg.dump(folder / f'{network}.py')
    return [f'{folder}/{network}.pth', f'{folder}/{network}.py']


def ask(port: int, path) -> str:
    """Returns the server's answer for a file that it can read itself; Gradio's client would upload the file."""
    url = f'http://127.0.0.1:{port}/gradio_api/call/predict'
    data = json.dumps(dict(data=[dict(path=str(path), meta=dict(_type='gradio.FileData')), 0.3])).encode()
    request = urllib.request.Request(url, data, {'Content-Type': 'application/json'})
    event = json.load(urllib.request.urlopen(request))['event_id']
    return urllib.request.urlopen(f'{url}/{event}').read().decode()


@needs_gradio
@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # of Gradio and its dependencies
def test_the_page_answers_and_loads_nothing_from_elsewhere(tmp_path):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError
    checkpoint, config = segmenter('ReSwin', tmp_path)
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    app = serve([checkpoint, str(mean_color_file(tmp_path))], port=port, configs=[config],
                device='cpu', block=False)
    try:
        client = Client(f'http://127.0.0.1:{port}/', verbose=False)
        image = Image.new('RGB', (64, 48), (10, 20, 200))
        image.save(tmp_path / 'blue.png')
        drawing, segments, _, colors = client.predict(handle_file(tmp_path / 'blue.png'), 0.3, api_name='/predict')
        assert min(Image.open(drawing).size) > 64 and segments['headers'] == ['class', 'share of the image']
        assert sum(row[1] for row in segments['data']) == pytest.approx(1, abs=0.01)
        assert [row[0] for row in colors['data']] == ['blue', 'green', 'red']
        (tmp_path / 'broken.png').write_bytes(b'\xff\xd8\xff\xe0 no image')  # Pillow takes it for JPEG
        with pytest.raises(AppError, match='broken') as caught:
            client.predict(handle_file(tmp_path / 'broken.png'), 0.3, api_name='/predict')
        assert '/' not in str(caught.value)  # users do not know the server's folders
        assert 'event: error' in ask(port, tmp_path / 'blue.png')  # a file of the server that nobody uploaded
        page = urllib.request.urlopen(f'http://127.0.0.1:{port}/').read().decode()
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]*)"', page)
        assert [url for url in loaded if not url.startswith('http://127.0.0.1')] == []
        assert app.analytics_enabled is False
        with raises(UsageError, '--port', port):  # in use
            serve([str(tmp_path / 'model.onnx')], port=port, block=False)
        client.close()
    finally:
        app.close()
        gc.collect()  # of sockets that Gradio leaves open, while warnings are ignored


def test_a_model_is_named_by_its_folder_and_file(tmp_path):
    assert Served(mean_color_file(tmp_path), None, device='cpu').name == f'{tmp_path.name}/model.onnx'


@pytest.mark.parametrize('arguments, words', [
    (dict(models=['imagenet_reswin_t']), ['config', '--config imagenet_reswin_t']),
    (dict(models=['a.pth'], configs=['a', 'b']), ['--config', 'at most 1', 'got 2']),
    (dict(models=['missing.pth']), ['missing.pth']),
    (dict(models=['a.pth'], runtime='openvino'), ['runtime', 'mmvit export', 'a.pth'])])
def test_wrong_arguments_are_refused(arguments, words):
    with raises((UsageError, CheckpointError), *words):
        load_models(**arguments)


@pytest.mark.skipif(bool(find_spec('gradio')), reason='Gradio is installed')
def test_gradio_is_named_if_it_is_missing():
    with raises(UsageError, 'gradio', "pip install 'mmvit_backbones[serve]'"):
        call('serve', 'model.onnx')
