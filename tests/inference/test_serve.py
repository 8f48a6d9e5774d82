"""`mmvit serve` answers Gradio's client, and its page loads nothing from other sites."""
import gc
import json
import re
import socket
import urllib.request

import pytest
from helpers import raises
from PIL import Image
from subcommands import call
from tiny_exports import DETAILS_OF_COLORS, mean_color_file

from mmvit.inference.serving import find_spec, serve
from mmvit_backbones.errors import UsageError

needs_gradio = pytest.mark.skipif(not find_spec('gradio'), reason='make test-extras runs the tests with Gradio')


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
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port = listener.getsockname()[1]
    deviations = dict(deviations=dict(onnxruntime='scores 0.5 (limit 0.001)'))
    model = str(mean_color_file(tmp_path, {**DETAILS_OF_COLORS, **deviations}))
    app = serve(model, port=port, device='cpu', block=False)
    try:
        client = Client(f'http://127.0.0.1:{port}/', verbose=False)
        image = Image.new('RGB', (64, 48), (10, 20, 200))
        image.save(tmp_path / 'blue.png')
        drawing, table = client.predict(handle_file(tmp_path / 'blue.png'), 0.3, api_name='/predict')
        assert min(Image.open(drawing).size) > 64
        assert [row[0] for row in table['data']] == ['blue', 'green', 'red']
        (tmp_path / 'broken.png').write_bytes(b'\xff\xd8\xff\xe0 no image')  # Pillow takes it for JPEG
        with pytest.raises(AppError, match='broken') as caught:
            client.predict(handle_file(tmp_path / 'broken.png'), 0.3, api_name='/predict')
        assert '/' not in str(caught.value)  # users do not know the server's folders
        assert 'event: error' in ask(port, tmp_path / 'blue.png')  # a file of the server that nobody uploaded
        page = urllib.request.urlopen(f'http://127.0.0.1:{port}/').read().decode()
        assert 'Differs from PyTorch in this runtime: scores 0.5' in page
        loaded = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]*)"', page)
        assert [url for url in loaded if not url.startswith('http://127.0.0.1')] == []
        assert app.analytics_enabled is False
        with raises(UsageError, '--port', port):  # in use
            serve(model, port=port, block=False)
        client.close()
    finally:
        app.close()
        gc.collect()  # of sockets that Gradio leaves open, while warnings are ignored


@pytest.mark.skipif(bool(find_spec('gradio')), reason='Gradio is installed')
def test_gradio_is_named_if_it_is_missing():
    with raises(UsageError, 'gradio', "pip install 'mmvit_backbones[serve]'"):
        call('serve', 'model.onnx')
