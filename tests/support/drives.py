"""Emulates the file hosts with a proxy on 127.0.0.1 that answers requests to the hosts' real URLs."""
import contextlib
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

HOSTS = ('github.com', 'release-assets.githubusercontent.com', 'drive.google.com', 'drive.usercontent.google.com',
         'download.pytorch.org')


class Drives:
    """Serves ``answers``, by URL without query, and records the URL and Range header of each request in ``asked``.

    Args:
        folder (Path): Folder for the certificate, which the client must trust (``REQUESTS_CA_BUNDLE``).
    """

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.certificate = folder / 'certificate.pem'
        make_certificate(self.certificate)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.certificate)
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        self.server.drives = self
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}'
        Thread(target=self.server.serve_forever, args=(0.02, ), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def times(self, url: str) -> int:
        return [asked for asked, _ in self.asked].count(url)


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_CONNECT(self) -> None:
        """Answers in place of the host that the client wants to connect to."""
        self.origin = f'https://{self.path.split(":")[0]}'
        self.send_response(200)
        self.end_headers()
        plain = self.rfile, self.wfile
        with (contextlib.suppress(OSError),
              self.server.drives.tls.wrap_socket(self.connection, server_side=True) as tls,
              tls.makefile('rb') as self.rfile, tls.makefile('wb', buffering=0) as self.wfile):
            self.close_connection = False
            while not self.close_connection:
                self.handle_one_request()
        self.rfile, self.wfile = plain
        self.close_connection = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        url = f'{getattr(self, "origin", "") or self.server.drives.url}{parts.path}'
        self.query = parts.query
        self.server.drives.asked.append((url, self.headers['Range']))
        with contextlib.suppress(OSError):  # the client has disconnected
            self.server.drives.answers.get(url, missing)(self)

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {'Content-Type': 'application/octet-stream', **headers}.items():
            self.send_header(name.replace('_', '-'), value)
        if 'Content_Length' not in headers:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


def make_certificate(path: Path) -> None:
    if not shutil.which('openssl'):
        pytest.skip('needs openssl')
    names = ','.join(f'DNS:{host}' for host in HOSTS)
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                    '-days', '2', '-subj', '/CN=drives', '-addext', f'subjectAltName={names}', '-keyout', path,
                    '-out', f'{path}.crt'], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f'{path}.crt').read_bytes())


# ---- responses


def missing(handler: Handler) -> None:
    handler.reply(b'Not Found', 404, Content_Type='text/plain')


def page(html: str, status: int = 200) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(html.encode(), status, Content_Type='text/html; charset=utf-8')


def redirect(url: str) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(b'', 302, Location=url)


def serve(content: bytes, breaks: int = 0, length: bool = True) -> Callable[[Handler], None]:
    """Returns a response that sends a file.

    Args:
        content (bytes): Content of the file.
        breaks (int): Number of responses that break off after half of the requested bytes.
        length (bool): Whether the header Content-Length is sent.
    """
    left = [breaks]

    def answer(handler: Handler) -> None:
        asked = re.fullmatch(r'bytes=(\d+)-', handler.headers['Range'] or '')
        start = int(asked[1]) if asked else 0
        body = content[start:]
        headers = dict(Content_Disposition='attachment; filename="model.pth"', Connection='close')
        if asked:
            headers['Content_Range'] = f'bytes {start}-{len(content) - 1}/{len(content)}'
        if length:
            headers['Content_Length'] = str(len(body))
        if left[0]:
            left[0] -= 1
            body = body[:len(body) // 2]
        handler.close_connection = True
        handler.send_response(206 if asked else 200)
        for name, value in {'Content_Type': 'application/octet-stream', **headers}.items():
            handler.send_header(name.replace('_', '-'), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def say_nothing(handler: Handler) -> None:
    """Waits until the client disconnects."""
    handler.rfile.read(1)  # returns when the connection is closed
    handler.close_connection = True


def dribble(content: bytes) -> Callable[[Handler], None]:
    """Returns a response that sends 1000 bytes of a file, then waits until the client disconnects."""
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header('Content-Length', str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:1000])
        say_nothing(handler)

    return answer
