"""Serves models in a web page and over HTTP: classes, boxes and masks or segments, and attention.

    python tools/serve.py CHECKPOINT
    python tools/serve.py FIRST SECOND                # side by side
    curl --data-binary @image.jpg 'http://127.0.0.1:7860/predict?threshold=0.5'
    curl --data-binary @image.jpg 'http://127.0.0.1:7860/predict?format=png' -o drawing.png

The page works offline, and other machines can only reach it with --host.
"""
import argparse
import asyncio
import copy
import io
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from command_line import run_script
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import nn

from mmvit_backbones import accelerate
from mmvit_backbones.errors import UsageError
from mmvit_backbones.inference import load
from mmvit_backbones.inference.findings import as_json, draw_findings, list_findings
from mmvit_backbones.inference.predictor import find_device
from mmvit_backbones.layers import VariedSizeWindowAttention

sys.path.append(str(Path(__file__).parent / 'analysis'))
import visualize_attention  # noqa: E402
import visualize_windows  # noqa: E402

FORMATS = ('JPEG', 'PNG', 'BMP', 'WEBP', 'TIFF')
LARGEST_RATIO = 20  # of the sides: pipelines resize the short one, and the other with it
LOOK_SIZE = 384  # pixels of the long side, where attention and windows are drawn
# The browser fetches nothing from elsewhere, whatever the page asks for.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', metavar='MODEL', help="a training's checkpoint, or an exported file")
    parser.add_argument('--config', nargs='+', default=[],
                        help='config files of the checkpoints, in order (default: those in the checkpoints)')
    parser.add_argument('--trust-code', action='store_true',
                        help='load files of --format aoti, which contain compiled code')
    parser.add_argument('--host', default='127.0.0.1',
                        help='address to listen on; 0.0.0.0 lets all in without a password (default: %(default)s)')
    parser.add_argument('--port', type=int, default=7860, help='0 takes a free one (default: %(default)s)')
    parser.add_argument('--device', help='device of checkpoints, e.g. cpu or cuda:1 (default: the GPU if there is one)')
    parser.add_argument('--max-megabytes', type=float, default=20, help='limit for a file (default: %(default)s)')
    parser.add_argument('--max-megapixels', type=float, default=16, help='limit for an image (default: %(default)s)')
    parser.add_argument('--timeout', type=float, default=60,
                        help='seconds for a request, including the queue (default: %(default)s)')
    parser.add_argument('--workers', type=int, default=1,
                        help='images in work at the same time (default: %(default)s)')
    parser.add_argument('--queue', type=int, default=64,
                        help='requests that may wait or be in work; more are refused (default: %(default)s)')
    return parser


class Refused(Exception):
    """A refused request, with its HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


# ---- one request


def read_image(data: bytes, max_megapixels: float) -> np.ndarray:
    """Reads an image file as RGB ``(H, W, 3)``; its size is checked before its pixels are decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > max_megapixels * 1e6:
            raise Refused(413, f'the image has {width} x {height} pixels; allowed are {max_megapixels:g} million')
        if max(width, height) > LARGEST_RATIO * min(width, height):
            raise Refused(400, f'the image has {width} x {height} pixels; allowed is a ratio of {LARGEST_RATIO}')
        return np.array(ImageOps.exif_transpose(image).convert('RGB'))
    except Image.DecompressionBombError:
        raise Refused(413, f'the image has too many pixels; allowed are {max_megapixels:g} million') from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = 'is not an image' if isinstance(error, UnidentifiedImageError) else 'is damaged'
        raise Refused(400, f'the file {reason}; allowed are {", ".join(FORMATS)}') from error


class Workers:
    """Runs functions in a few threads, with a limited queue and a timeout.

    A computation cannot be stopped: one that exceeds its timeout keeps its thread until it ends.
    """

    def __init__(self, number: int, queue: int, timeout: float) -> None:
        self.pool = ThreadPoolExecutor(number)
        self.places = threading.Semaphore(queue)
        self.queue = queue
        self.timeout = timeout

    async def call(self, function: Callable, *args):
        if not self.places.acquire(blocking=False):
            raise Refused(503, f'{self.queue} requests are waiting; try again later')
        future = self.pool.submit(function, *args)
        future.add_done_callback(lambda _: self.places.release())
        return await self.in_time(asyncio.wrap_future(future))

    async def in_time(self, awaitable):
        try:
            return await asyncio.wait_for(awaitable, self.timeout)
        except asyncio.TimeoutError:
            raise Refused(504, f'no answer within {self.timeout:g} seconds') from None


# ---- one model


def find_look(backbone: nn.Module | None) -> str | None:
    """Returns what can be drawn of a backbone: varied-size windows, attention maps or None."""
    modules = [] if backbone is None else list(backbone.modules())
    if any(isinstance(module, VariedSizeWindowAttention) for module in modules):
        return 'windows'
    return 'attention' if type(backbone).__name__ in ('ReViT', 'ReMViTv2', 'ReSwin') else None


class Served:
    """A model and its requests, which run in the threads of :class:`Workers`."""

    looking = threading.Lock()  # pyplot and the hooks in a backbone are for one thread

    def __init__(self, path: str, config: str | None, device: str | None, trust_code: bool) -> None:
        self.name = Path(path).stem
        self.model = load(path, config, find_device(device), trust_code)
        module = getattr(self.model, 'module', None)  # an exported file has none
        backbone = getattr(module, 'backbone', None)
        # A copy, as `accelerate` replaces what is looked at.
        self.backbone = copy.deepcopy(backbone).cpu() if find_look(backbone) else None
        if module is not None:
            accelerate(module, inference=True)

    def find(self, image: np.ndarray, threshold: float) -> list[dict]:
        return list_findings(self.model.predict(image), self.model.classes, threshold)

    def look(self, image: np.ndarray, place: tuple[int, int]) -> Image.Image:
        """Draws the backbone's attention at a pixel: its windows in every stage, or the attention of four blocks."""
        small = Image.fromarray(image)
        small.thumbnail((LOOK_SIZE, LOOK_SIZE))
        x, y = (position * new // old for position, new, old in zip(place, small.size, reversed(image.shape[:2])))
        figure = io.BytesIO()
        with self.looking:
            if find_look(self.backbone) == 'windows':
                frames = visualize_windows.predict_frames(self.backbone, np.array(small))
                visualize_windows.draw(np.array(small), [(x, y)], frames, '', figure)
            else:
                pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float()
                looking = visualize_attention.place((x, y), small.size, pixels.shape[1:])
                source = self.model.module.data_preprocessor
                images = ((pixels - source.mean.cpu()) / source.std.cpu())[None]
                blocks = visualize_attention.record(self.backbone, images, looking)
                names = list(blocks)
                chosen = {names[int(i)]: blocks[names[int(i)]]
                          for i in np.linspace(0, len(names) - 1, min(4, len(names)))}
                visualize_attention.draw(pixels, looking, chosen, [0, 1], figure)
        return Image.open(figure).convert('RGB')


# ---- the server


def build_app(models: list[Served], workers: Workers, max_megabytes: float, max_megapixels: float):
    """Builds a FastAPI application with the page at / and the interface at /predict."""
    import gradio
    from fastapi import FastAPI, HTTPException, Query, Request, Response
    from starlette.datastructures import MutableHeaders

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # its pages would fetch scripts from elsewhere

    @app.post('/predict')
    async def predict(request: Request, model: int = Query(0, ge=0, lt=len(models)),
                      threshold: float = Query(0.3, ge=0, le=1), format: Literal['json', 'png'] = 'json') -> Response:
        try:
            data = await workers.in_time(read_body(request, max_megabytes))
            content = await workers.call(answer, models[model], data, threshold, format)
            return Response(content, media_type='image/png' if format == 'png' else 'application/json')
        except Refused as error:
            raise HTTPException(error.status, str(error)) from error

    def answer(model: Served, data: bytes, threshold: float, format: str) -> bytes:
        image = read_image(data, max_megapixels)
        found = model.find(image, threshold)
        if format == 'png':
            content = io.BytesIO()
            draw_findings(image, found).save(content, 'PNG', compress_level=1)
            return content.getvalue()
        height, width = image.shape[:2]
        content = dict(model=model.name, task=model.model.task, width=width, height=height, results=as_json(found))
        return json.dumps(content).encode()

    class OwnSourcesOnly:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            async def send_with_policy(message) -> None:
                if message['type'] == 'http.response.start':
                    MutableHeaders(scope=message)['Content-Security-Policy'] = POLICY
                await send(message)
            await self.app(scope, receive, send_with_policy)

    app.add_middleware(OwnSourcesOnly)
    page = build_page(models, workers, max_megabytes, max_megapixels)
    theme = gradio.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])
    return gradio.mount_gradio_app(app, page, '/', max_file_size=int(max_megabytes * 1e6), theme=theme, ssr_mode=False,
                                   show_error=False, footer_links=[])


async def read_body(request, max_megabytes: float) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > max_megabytes * 1e6:
            raise Refused(413, f'the file has more than {max_megabytes:g} MB')
    return bytes(data)


def build_page(models: list[Served], workers: Workers, max_megabytes: float, max_megapixels: float):
    """Builds a gradio page with one image for all models and a column for each."""
    import gradio

    async def call(function: Callable, *args):
        try:
            return await workers.call(function, *args)
        except Refused as error:
            raise gradio.Error(str(error), print_exception=False) from error

    def add_column(model: Served) -> None:
        def find(path: str, threshold: float) -> tuple:
            image = read_image(Path(path).read_bytes(), max_megapixels)
            found = model.find(image, threshold)
            return draw_findings(image, found), [[one['label'], f'{one["score"]:.1%}'] for one in found], None

        def look_from(path: str, place: tuple[int, int]) -> Image.Image:
            return model.look(read_image(Path(path).read_bytes(), max_megapixels), place)

        async def show(path: str | None, threshold: float) -> tuple:
            return await call(find, path, threshold) if path else (None, None, None)

        async def look(path: str, event: gradio.SelectData) -> Image.Image:
            return await call(look_from, path, event.index)

        look_at = find_look(model.backbone)
        gradio.Markdown(f'### {model.name}: {model.model.task}')
        plain = dict(type='pil', show_label=False, buttons=['download', 'fullscreen'], interactive=False)
        drawing = gradio.Image(format='jpeg', elem_classes='prediction', **plain)
        table = gradio.Dataframe(headers=['class', 'share' if model.model.task == 'segmentation' else 'score'],
                                 buttons=[], interactive=False)
        gradio.Markdown(f'Click into the image to see the {look_at} from there', visible=bool(look_at))
        looked = gradio.Image(elem_classes='looked', visible=bool(look_at), **plain)
        private = dict(api_visibility='private', concurrency_limit=None)
        gradio.on([file.change, threshold.release], show, [file, threshold], [drawing, table, looked], **private)
        if look_at:
            drawing.select(look, file, looked, **private)

    with gradio.Blocks(title='mmvit_backbones', analytics_enabled=False, fill_width=True,
                       delete_cache=(60, 600)) as page:
        with gradio.Row():
            file = gradio.File(label=f'image: {", ".join(FORMATS)}; at most {max_megabytes:g} MB and '
                                     f'{max_megapixels:g} million pixels', height=120)
            threshold = gradio.Slider(0, 1, 0.3, step=0.05, label='least score of objects',
                                      visible=any(model.model.task == 'detection' for model in models))
        with gradio.Row():
            for model in models:
                with gradio.Column():
                    add_column(model)
    return page.queue(max_size=workers.queue, api_open=False)


def main(args: argparse.Namespace) -> None:
    os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_OFFLINE='1')
    if not find_spec('gradio'):
        raise UsageError("gradio is not installed: pip install 'mmvit_backbones[serve]'")
    import uvicorn
    for name in ('max_megabytes', 'max_megapixels', 'timeout', 'workers', 'queue'):
        if not getattr(args, name) > 0:
            raise UsageError(f'--{name.replace("_", "-")} must be more than 0, got {getattr(args, name)}')
    if len(args.config) > len(args.models):
        raise UsageError(f'--config names {len(args.config)} files for {len(args.models)} models')
    try:
        listener = socket.create_server((args.host, args.port))
    except (OSError, OverflowError) as error:
        raise UsageError(f'--host {args.host} --port {args.port} cannot be used: {error}') from error
    models = [Served(path, config, args.device, args.trust_code)
              for path, config in zip_longest(args.models, args.config)]
    workers = Workers(args.workers, args.queue, args.timeout)
    app = build_app(models, workers, args.max_megabytes, args.max_megapixels)
    print(f'{", ".join(args.models)} at http://{args.host}:{listener.getsockname()[1]}', flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level='warning', timeout_graceful_shutdown=5)).run([listener])


if __name__ == '__main__':
    run_script(get_parser(), main)
