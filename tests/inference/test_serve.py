"""The web page of docs/serve.md answers Gradio's client."""
import gc
import re
from importlib.util import find_spec

import pytest
from helpers import ROOT
from PIL import Image
from tiny_exports import mean_color_file


@pytest.mark.skipif(not find_spec('gradio'), reason='make test-extras runs the tests with Gradio')
@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')  # of Gradio and its dependencies
def test_the_page_answers(tmp_path):
    from gradio_client import Client, handle_file
    code, = re.findall(r'^```py\n(.*?)^```$', (ROOT / 'docs/serve.md').read_text(), flags=re.MULTILINE | re.DOTALL)
    scope = {}
    exec(code.replace('work_dirs/vitaev2_small_detector', str(mean_color_file(tmp_path)))
         .replace('launch()', 'launch(prevent_thread_lock=True)'), scope)
    try:
        client = Client(scope['page'].local_url, verbose=False)
        Image.new('RGB', (64, 48), (10, 20, 200)).save(tmp_path / 'blue.png')
        drawing, items = client.predict(handle_file(tmp_path / 'blue.png'), 0.3, api_name='/predict')
        assert min(Image.open(drawing).size) > 64
        assert [item['category'] for item in items] == ['blue', 'green', 'red']
    finally:
        scope['page'].close()
        gc.collect()  # of sockets that Gradio leaves open, while warnings are ignored
