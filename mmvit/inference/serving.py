"""Shows the predictions of a model on a web page, with Gradio."""
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmvit_backbones.errors import UsageError

from ..utils.images import read_rgb
from .predictor import Predictor
from .results import SCORE_THR, Result

COLUMNS = dict(classification=['class', 'score'], segmentation=['class', 'share of the image'],
               detection=['class', 'score', 'x1, y1, x2, y2 in pixels'])
MAX_FILE_SIZE = '20mb'


def rows_of(result: Result) -> list[list]:
    """Returns the class, the score and, for objects, the box of each item."""
    rows = []
    for item in result.items():
        box = [', '.join(f'{side:.0f}' for side in item['box'])] if 'box' in item else []
        rows.append([result.name(item['label']), round(float(item['score']), 3), *box])
    return rows


def build_app(predictor: Predictor, title: str) -> Any:
    """Builds the page, a gradio.Blocks."""
    import gradio as gr  # pyright: ignore[reportMissingImports]  # only in .venv-extras

    def predict(upload: dict[str, Any] | None, threshold: float) -> list:
        """Returns the drawing and the table."""
        if upload is None:
            return [None, None]
        try:
            name = f'image {Path(upload["path"]).name}'  # users do not know the folder
            result, = predictor(read_rgb(upload['path'], name, is_trusted=False), score_thr=threshold)
        except UsageError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        return [result.draw(), rows_of(result)]

    with gr.Blocks(title='mmvit serve', analytics_enabled=False) as app:
        gr.Markdown(f'### {title}')
        if deviation := getattr(predictor.model, 'deviation', None):
            gr.Markdown(f'Differs from PyTorch in this runtime: {deviation}')
        with gr.Row():
            image = gr.Image(sources=['upload', 'clipboard'], label='Image')
            drawing = gr.Image(format='png', interactive=False, show_label=False, buttons=[])  # they hide labels
        threshold = gr.Slider(0, 1, SCORE_THR, step=0.01, label='Minimum score')
        table = gr.Dataframe(headers=COLUMNS[predictor.task], interactive=False)
        # Gradio's preprocessing would open the image and show its own message and paths if it is damaged.
        gr.on([image.upload, image.clear, threshold.change], predict, [image, threshold], [drawing, table],
              api_name='predict', preprocess=False, trigger_mode='always_last',
              concurrency_limit=1)  # the model is not thread-safe
    return app


def serve(model: str, host: str = '127.0.0.1', port: int = 7860, config: str | None = None, device: str | None = None,
          runtime: str | None = None, precision: str | None = None, block: bool = True) -> Any:
    """Shows the predictions of a model on a web page, with Gradio.

    Args:
        model (str): A checkpoint, the work dir of a training, or a file written by ``mmvit export``.
        host (str): Address to listen on; ``0.0.0.0`` accepts clients from all machines, without a password. Defaults
            to ``127.0.0.1``.
        port (int): Port to listen on. Defaults to 7860.
        config (str | None): Config of a checkpoint. Defaults to None: the one that the training saved beside it.
        device (str | None): Device of a checkpoint, e.g. ``cuda:1``. Defaults to None: a GPU if possible.
        runtime (str | None): Runtime of an exported file; see :class:`mmvit.inference.Predictor`.
        precision (str | None): Precision of OpenVINO.
        block (bool): Whether to return only when the server ends. Defaults to True.

    Returns:
        gradio.Blocks: The page.

    Raises:
        UsageError: If Gradio is not installed, an argument is invalid, or the port cannot be used.
        CheckpointError: If a checkpoint is unavailable or does not match its config.
    """
    if not find_spec('gradio'):
        raise UsageError("serving needs gradio: pip install 'mmvit_backbones[serve]'")
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # read when gradio is imported
    app = build_app(Predictor(model, config, device=device, runtime=runtime, precision=precision), model)
    try:
        app.launch(server_name=host, server_port=port, max_file_size=MAX_FILE_SIZE, share=False, ssr_mode=False,
                   footer_links=['api'], prevent_thread_lock=not block)
    except OSError as error:
        raise UsageError(f'--host {host} --port {port} cannot be used: {error}') from error
    return app
