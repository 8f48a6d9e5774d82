"""Downloads have a limit of size; errors name the reason."""
import io
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers import raises

from mmvit_backbones.errors import UsageError
from mmvit_backbones.utils import web
from mmvit_backbones.utils.web import is_unreachable, reason_of, receive

pytest.importorskip('gdown')
requests = pytest.importorskip('requests')
CONTENT = bytes(range(250)) * 12


class Answers(BaseHTTPRequestHandler):
    """Sends CONTENT, without its length for /unknown; other paths do not exist."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path in ('/file', '/unknown') else 404)
        if self.path == '/file':
            self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Yields the URL of a local server; the home folder is empty."""
    for name in ('HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    with ThreadingHTTPServer(('127.0.0.1', 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02, ), daemon=True)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('name', ['file', 'unknown'])
def test_a_file_is_received(name, resume, server, tmp_path, capfd):
    """Without a terminal, no progress is printed."""
    receive(f'{server}/{name}', str(tmp_path / 'a'), resume=resume)
    assert (tmp_path / 'a').read_bytes() == CONTENT and [path.name for path in tmp_path.iterdir()] == ['a']
    assert capfd.readouterr() == ('', '')


def test_files_that_are_too_large_are_refused(server, monkeypatch):
    content = io.BytesIO()
    receive(f'{server}/file', content, 3000)
    assert content.getvalue() == CONTENT
    for name in 'file', 'unknown':
        with raises(UsageError, 'larger than 0.002999 MB'):
            receive(f'{server}/{name}', io.BytesIO(), 2999)
    monkeypatch.setattr(web, 'MAX_BYTES', 2000)
    receive(f'{server}/file', io.BytesIO())
    with raises(UsageError, 'larger than 0.002 MB'):
        receive(f'{server}/unknown', io.BytesIO())


def test_reason_why_a_download_fails(server, monkeypatch):
    with raises(UsageError, '404'):
        receive(f'{server}/missing', io.BytesIO())
    with raises(UsageError, 'no connection to 127.0.0.1', 'Connection refused') as caught:
        receive('http://127.0.0.1:1/file', io.BytesIO())
    assert is_unreachable(caught.value)
    monkeypatch.setitem(sys.modules, 'gdown', None)
    with raises(UsageError, 'pip install', 'gdown'):
        receive(f'{server}/file', io.BytesIO())


@pytest.mark.parametrize('error, expected', [
    (requests.ConnectionError(), True), (requests.Timeout(), True), (ValueError(), False)])
def test_servers_that_cannot_be_reached(error, expected):
    for _ in range(3):
        assert is_unreachable(error) == expected
        outer = UsageError()
        outer.__cause__ = error
        error = outer


def test_reason_names_the_host_and_the_first_cause():
    request = requests.Request('GET', 'https://a.b:44/c').prepare()
    for kind, through in (requests.Timeout, ''), (requests.exceptions.ProxyError, ' through the proxy'):
        lost = kind(ValueError('Max retries', TimeoutError('timed\n  out')), request=request)
        assert reason_of(lost) == f'no connection to a.b{through} (timed out)'
    assert reason_of(requests.Timeout('late')) == 'no connection to the server (late)'
    assert reason_of(OSError('the read\n  timed out')) == 'the read timed out'
