"""Serves models over HTTP, with a web page that shows predictions and attention.

    mmvit serve CHECKPOINT
    mmvit serve FIRST SECOND    # shows both predictions side by side
    curl -F file=@image.jpg 'http://127.0.0.1:7860/predict?threshold=0.5'
    curl --data-binary @image.jpg 'http://127.0.0.1:7860/predict?format=png' -o drawing.png

The page works offline. By default, only this machine can access the server; see --host and --allow-host.
"""
import argparse
import asyncio
import base64
import copy
import io
import json
import mimetypes
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..errors import TooLargeError, UsageError
from ..inference import Predictor, read_rgb
from ..inference.results import SCORE_THR, color_of
from ..inference.sources import find_images
from ..layers import VariedSizeWindowAttention
from ..utils.config import is_config
from .arguments import above_zero, positive, whole
from .draw import attention, windows

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path(__file__).parent / 'page'
EXAMPLES = dict(detection='data/coco_mini/val', segmentation='data/camvid_mini/images/val',
                classification='data/flowers_mini/val')
LARGEST_RATIO = 20  # limit of long side / short side; resizing the short side of longer images would make them huge
VISUALIZATION_SIZE = 384  # maximum long side in pixels of the images in drawings of attention and windows
HEADER_SECONDS = 20  # time limit for receiving the headers of a request
CLOSE_SECONDS = 5  # time for the client to receive the error after a timeout
# Browsers must not load anything from other sites and must not run inline scripts.
HEADERS = [('Content-Security-Policy', "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"),
           ('X-Content-Type-Options', 'nosniff')]


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', metavar='MODEL',
                        help='training checkpoint, or a file written by mmvit export')
    parser.add_argument('--config', nargs='+', default=[],
                        help='one config file or name per model, in the same order (default: the configs in the '
                             'checkpoints)')
    parser.add_argument('--name', nargs='+', default=[],
                        help='one name per model, in the same order (default: e.g. "MaskRCNN with ReSwin")')
    parser.add_argument('--examples', metavar='FOLDER',
                        help='folder of example images for the page (default: a folder in data/ for the task)')
    parser.add_argument('--trust-code', action='store_true',
                        help='allow .pt2 files, which contain executable code')
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen on; 0.0.0.0 accepts clients from all machines, without a password, if '
                             'their URLs use a name given by --allow-host (default: %(default)s)')
    parser.add_argument('--allow-host', nargs='+', default=[], metavar='NAME',
                        help='host names that clients may use in URLs of this server, in addition to --host, '
                             'localhost and 127.0.0.1')
    parser.add_argument('--port', type=whole(0, 65535), default=7860,
                        help='port to listen on; 0 selects a free port (default: %(default)s)')
    parser.add_argument('--device',
                        help='for checkpoints and ONNX files, e.g. cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument('--max-megabytes', type=above_zero, default=20,
                        help='maximum size of a file in megabytes (default: %(default)s)')
    parser.add_argument('--max-megapixels', type=above_zero, default=16,
                        help='maximum size of an image in megapixels (default: %(default)s)')
    parser.add_argument('--timeout', type=above_zero, default=60,
                        help='time limit in seconds for a request, including its time in the queue, and for a client '
                             'that does not read the response (default: %(default)s)')
    parser.add_argument('--workers', type=whole(1, 1024), default=1,
                        help='number of images processed concurrently (default: %(default)s)')
    parser.add_argument('--queue', type=positive, default=64,
                        help='maximum number of connections; further ones are refused (default: %(default)s)')
    return parser


# ---- one model


def find_visualization(backbone: nn.Module | None) -> str | None:
    """Returns what :meth:`Served.visualize` draws for a backbone: 'windows', 'attention', or None for nothing."""
    modules = [] if backbone is None else list(backbone.modules())
    if any(isinstance(module, VariedSizeWindowAttention) for module in modules):
        return 'windows'
    return 'attention' if type(backbone).__name__ in ('ReViT', 'ReMViTv2', 'ReSwin') else None


class Served:
    """A served model, whose methods are called from several threads."""

    drawing = threading.Lock()  # pyplot and the hooks of a backbone are not thread-safe

    def __init__(self, path: str, config: str | None, name: str | None, device: str | None, trust_code: bool,
                 timeout: float = 60) -> None:
        self.predictor = Predictor(path, config, device=device, trust_code=trust_code)
        details = self.predictor.model.details
        self.name = name or f'{details.get("model", Path(path).stem)} with {details.get("network", "")}'
        self.module = getattr(self.predictor.model, 'module', None)  # None for an exported file
        backbone = getattr(self.module, 'backbone', None)
        # Drawing registers hooks on a copy, because predictions in other threads would run them, too.
        self.backbone = copy.deepcopy(backbone).cpu() if backbone is not None and find_visualization(backbone) else None

    def describe(self) -> dict:
        predictor = self.predictor
        colors = [f'#{bytes(color_of(label, predictor.palette)).hex()}' for label in range(len(predictor.classes))]
        return dict(name=self.name, task=predictor.task, runtime=predictor.model.runtime, classes=predictor.classes,
                    colors=colors, visualization=find_visualization(self.backbone))

    def visualize(self, image: np.ndarray, x: float, y: float) -> bytes:
        """Draws the windows of every stage, or the attention of up to four blocks, at a point of an image.

        Args:
            image (np.ndarray): RGB image ``(height, width, 3)``, uint8.
            x, y (float): The point, as fractions of the image's width and height.

        Returns:
            bytes: A PNG file.
        """
        if self.backbone is None or self.module is None:
            raise ValueError(f'model {self.name} has no attention to draw')
        small = Image.fromarray(image)
        small.thumbnail((VISUALIZATION_SIZE, VISUALIZATION_SIZE))
        pixel = int(x * small.width), int(y * small.height)
        figure = io.BytesIO()
        with self.drawing:
            if find_visualization(self.backbone) == 'windows':
                frames = windows.predict_frames(self.backbone, np.array(small))
                windows.draw_large(np.array(small), pixel, frames, figure)
            else:
                pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float()
                queries = attention.place(pixel, small.size, pixels.shape[1:])
                source = self.module.data_preprocessor
                images = ((pixels - source.mean.cpu()) / source.std.cpu())[None]
                blocks = attention.record(self.backbone, images, queries)
                chosen = np.linspace(0, len(blocks) - 1, min(4, len(blocks))).astype(int)
                four = dict(list(blocks.items())[i] for i in chosen)
                attention.draw_means(pixels, queries, four, figure)
        return figure.getvalue()


# ---- the server


def build_app(models: Sequence[Served], args: argparse.Namespace):
    """Builds a FastAPI application with the web page at / and the API at /predict, /models and /health."""
    import anyio
    from fastapi import FastAPI, HTTPException, Query, Request, Response
    from fastapi import Path as PathParameter
    from fastapi.staticfiles import StaticFiles
    from pydantic import BaseModel, Field
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect

    # FastAPI's documentation pages would load scripts from other sites.
    app = FastAPI(title='mmvit_backbones', docs_url=None, redoc_url=None)
    pool, examples = ThreadPoolExecutor(args.workers), find_examples(args.examples, models[0].predictor.task)
    file = dict(type='string', format='binary')
    form = dict(type='object', properties=dict(file=file), required=['file'])
    image_body = dict(requestBody=dict(required=True, content={
        'image/*': dict(schema=file), 'multipart/form-data': dict(schema=form)}))

    class ModelQuery(BaseModel, extra='forbid'):
        model: int = Field(0, ge=0, lt=len(models))

    class PredictQuery(ModelQuery):
        threshold: float = Field(SCORE_THR, ge=0, le=1)
        format: Literal['json', 'png', 'both'] = 'json'

    class VisualizationQuery(ModelQuery):
        x: float = Field(ge=0, lt=1)
        y: float = Field(ge=0, lt=1)

    def read(request: Request, body: bytes) -> np.ndarray:
        file = file_of(body, request.headers.get('content-type', ''))
        return np.array(read_rgb(file, args.max_megapixels * 1e6, LARGEST_RATIO, name='the file'))

    async def work(request: Request, function: Callable[[np.ndarray], Response]) -> Response:
        """Returns a function's response to the image in a request; a timeout does not stop the function's thread."""
        try:
            with anyio.fail_after(args.timeout):
                body = await read_body(request, args.max_megabytes)
                return await asyncio.get_running_loop().run_in_executor(pool, lambda: function(read(request, body)))
        except TimeoutError:
            raise HTTPException(504, f'no response within {args.timeout:g} seconds') from None
        except UsageError as error:
            raise HTTPException(413 if isinstance(error, TooLargeError) else 400, str(error)) from error
        except ClientDisconnect as error:  # nobody reads the response
            raise HTTPException(400, 'the client has disconnected') from error

    @app.head('/health', include_in_schema=False)
    @app.get('/health')
    async def health() -> dict[str, str]:
        return dict(status='ok')

    @app.get('/models')
    async def list_models() -> list[dict]:
        return [model.describe() for model in models]

    @app.post('/predict', openapi_extra=image_body)
    async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
        model = models[query.model]

        def answer(image: np.ndarray) -> Response:
            found, = model.predictor(image, score_thr=query.threshold)
            if query.format == 'png':
                return Response(encode(found.draw(), 'PNG', compress_level=1), media_type='image/png')
            values = dict(found.to_dict(), model=model.name, task=model.predictor.task)
            if query.format == 'both':
                drawing = base64.b64encode(encode(found.draw(), 'JPEG', quality=90)).decode()
                values['drawing'] = f'data:image/jpeg;base64,{drawing}'
            return Response(json.dumps(values), media_type='application/json')

        return await work(request, answer)

    @app.post('/page/visualization', include_in_schema=False)
    async def visualize(request: Request, query: Annotated[VisualizationQuery, Query()]) -> Response:
        model = models[query.model]
        if model.backbone is None:
            raise HTTPException(404, f'model {query.model} has no attention to draw')

        return await work(request, lambda image: Response(model.visualize(image, query.x, query.y),
                                                          media_type='image/png'))

    @app.get('/page/examples', include_in_schema=False)
    async def list_examples() -> list[str]:
        return [example.name for example in examples]

    @app.get('/page/examples/{number}', include_in_schema=False)
    async def example(number: Annotated[int, PathParameter(ge=0, lt=len(examples))]) -> Response:
        return Response(examples[number].content, media_type=examples[number].media_type)

    app.mount('/', StaticFiles(directory=PAGE, html=True))
    app.add_middleware(refuse_other_sites)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[args.host, 'localhost', '127.0.0.1', *args.allow_host])
    return app


class Example(NamedTuple):
    name: str
    content: bytes
    media_type: str


def find_examples(folder: str | None, task: str) -> list[Example]:
    """Returns up to four images of a folder, by default of one in data/; skips links to files outside the folder."""
    path = Path(folder) if folder else ROOT / EXAMPLES.get(task, '')
    images = [Path(image) for image in find_images([path])] if folder or path.is_dir() and path != ROOT else []
    inside = [image for image in images if image.resolve().is_relative_to(path.resolve())]
    chosen = [inside[int(number)] for number in np.linspace(0, len(inside) - 1, min(4, len(inside)))]
    return [Example(image.stem, image.read_bytes(), mimetypes.guess_type(image)[0] or 'image/jpeg')
            for image in chosen]


def refuse_other_sites(app):
    """Wraps an ASGI application to refuse cross-origin requests from browsers."""
    from starlette.requests import Request
    from starlette.responses import JSONResponse

    async def checked(scope, receive, send) -> None:
        refused = scope['type'] == 'http' and is_from_another_site(Request(scope))
        answer = JSONResponse(dict(detail='cross-origin requests are refused'), 403) if refused else app
        await answer(scope, receive, send)

    return checked


def is_from_another_site(request) -> bool:
    """Returns whether a browser's headers indicate a cross-origin request; links to the page are allowed."""
    headers = request.headers
    if site := headers.get('sec-fetch-site'):
        is_link = request.method == 'GET' and headers.get('sec-fetch-dest') == 'document'
        return site not in ('same-origin', 'none') and not is_link
    # Browsers send sec-fetch-site only to https URLs and to localhost.
    return 'origin' in headers and urlsplit(headers['origin']).netloc != headers.get('host')


async def read_body(request, max_megabytes: float) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > max_megabytes * 1e6:
            raise TooLargeError(f'the file has more than {max_megabytes:g} MB')
    return bytes(data)


def file_of(body: bytes, content_type: str) -> bytes:
    """Returns the file in a request: its body, or the only part of a form, as sent by ``curl -F``."""
    if not content_type.startswith('multipart/form-data'):
        return body
    if not find_spec('python_multipart'):
        raise UsageError("multipart forms need python-multipart: pip install 'mmvit_backbones[serve]'")
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header
    files, ends = [], []

    def begin_part() -> None:
        if files:
            raise UsageError('the form must have exactly one part, a file, got several parts')
        files.append(bytearray())

    boundary = parse_options_header(content_type)[1].get(b'boundary', b'')
    try:
        MultipartParser(boundary, {
            'on_part_begin': begin_part, 'on_end': lambda: ends.append(True),
            'on_part_data': lambda data, start, end: files[0].extend(data[start:end])}).write(body)
    except FormParserError as error:
        raise UsageError(f'the form cannot be read: {error}') from error
    if not files or not ends:
        raise UsageError('the form has no file or is truncated')
    return bytes(files[0])


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, file_format, **options)
    return content.getvalue()


def protocol_with_timeouts(timeout: float):
    """Returns a subclass of uvicorn's protocol that closes the connections of slow clients.

    A connection is closed if the headers take longer than ``HEADER_SECONDS``, if the body takes longer than ``timeout +
    CLOSE_SECONDS``, or if the client reads nothing of the response for ``timeout`` seconds.
    """
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            self.waiting, self.since = None, self.loop.time()
            self.watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self.watching.cancel()

        def watch(self) -> None:
            waiting, limit = self.wait_for_client()
            if waiting != self.waiting:
                self.waiting, self.since = waiting, self.loop.time()
            if self.loop.time() - self.since >= limit:
                self.transport.abort()  # close() would wait for the client to read the response
            else:
                self.watching = self.loop.call_later(min(HEADER_SECONDS, timeout) / 10, self.watch)

        def wait_for_client(self) -> tuple[object, float]:
            """Returns what the server waits for, and the time limit in seconds.

            It differs between requests, and changes while the client reads a response.
            """
            if unread := self.transport.get_write_buffer_size():
                return unread, timeout
            if self.conn.their_state is h11.IDLE:
                return ('headers', self.cycle), HEADER_SECONDS
            if self.conn.their_state is h11.SEND_BODY:
                return ('body', self.cycle), timeout + CLOSE_SECONDS
            return None, float('inf')

    return Protocol


def build_server(models: Sequence[Served], args: argparse.Namespace):
    """Builds a uvicorn server that prints its address as soon as it accepts requests."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for listener in sockets or ():
                print(f'{", ".join(args.models)} at http://{args.host}:{listener.getsockname()[1]}', flush=True)

    return Server(uvicorn.Config(
        build_app(models, args), log_level='warning', http=protocol_with_timeouts(args.timeout), ws='none',
        headers=HEADERS, server_header=False, limit_concurrency=args.queue + 1,
        timeout_graceful_shutdown=int(args.timeout) + 1))


def load_models(args: argparse.Namespace) -> list[Served]:
    if configs := [path for path in args.models if is_config(path)]:
        raise UsageError(f'{configs[0]} is a config: pass a checkpoint and --config {configs[0]}')
    return [Served(path, config, name, args.device, args.trust_code, args.timeout)
            for path, config, name in zip_longest(args.models, args.config, args.name)]


def main(args: argparse.Namespace) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # until uvicorn handles signals, end the process at once
        signal.signal(number, signal.SIG_DFL)
    if not find_spec('fastapi') or not find_spec('uvicorn'):
        raise UsageError("mmvit serve needs fastapi and uvicorn: pip install 'mmvit_backbones[serve]'")
    for name in ('config', 'name'):
        if len(getattr(args, name)) > len(args.models):
            raise UsageError(f'--{name} must have at most {len(args.models)} values, one per model, got '
                             f'{len(getattr(args, name))}')
    try:
        listener = socket.create_server((args.host, args.port))
    except (OSError, TypeError, ValueError) as error:  # TypeError and ValueError: invalid host name
        raise UsageError(f'--host {args.host} --port {args.port} cannot be used: {error}') from error
    models = load_models(args)
    server = build_server(models, args)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn replaces this handler while it runs; at the end, it restores the handler and raises the signal again.
        signal.signal(number, server.handle_exit)
    server.run([listener])
