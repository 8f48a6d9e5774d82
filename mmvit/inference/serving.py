"""Shows the predictions of models on a web page, with Gradio."""
import os
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.reading import find_checkpoint

from ..configs.files import is_config, path_hint
from ..utils.images import read_rgb
from .predictor import Predictor
from .results import SCORE_THR, Result

COLUMNS = dict(classification=['class', 'score'], segmentation=['class', 'share of the image'],
               detection=['class', 'score', 'x1, y1, x2, y2 in pixels'])
WIDTHS = dict(detection=['36%', '20%', '44%'])  # boxes wrap on narrow screens, where they would be cut off
# Gradio's buttons lie over the upper right corner of an image, where drawings have labels.
STYLE = '.drawing .image-container { padding-top: 2.4rem; box-sizing: border-box }'
MAX_FILE_SIZE = '20mb'


class Served:
    """A model with the name of its work dir and file, and what its runtime deviates from PyTorch."""

    def __init__(self, path: str, config: str | None, **options: Any) -> None:
        self.predictor, file = Predictor(path, config, **options), find_checkpoint(str(path))
        self.name = '/'.join(Path(file).absolute().parts[-2:])
        self.deviation: str | None = getattr(self.predictor.model, 'deviation', None)


def rows_of(result: Result) -> list[list]:
    """Returns the class, the score and, for objects, the box of each item."""
    rows = []
    for item in result.items():
        rows.append([result.name(item['label']), round(float(item['score']), 3)])
        if 'box' in item:
            rows[-1].append(', '.join(f'{side:.0f}' for side in item['box']))
    return rows


def build_app(models: list[Served]) -> Any:
    """Builds the page, a gradio.Blocks; the results of several models are side by side."""
    import gradio as gr  # pyright: ignore[reportMissingImports]  # only in .venv-extras

    def predict(upload: dict[str, Any] | None, threshold: float) -> list:
        """Returns a drawing and a table for each model."""
        if upload is None:
            return [None, None] * len(models)
        outputs = []
        try:
            name = f'image {Path(upload["path"]).name}'  # users do not know the folder
            image = read_rgb(upload['path'], name, is_trusted=False)
            for model in models:
                result, = model.predictor(image, score_thr=threshold)
                outputs += [result.draw(), rows_of(result)]
        except UsageError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error
        return outputs

    with gr.Blocks(title='mmvit serve', analytics_enabled=False, fill_width=True) as app:
        with gr.Row():
            with gr.Column(min_width=300):
                image = gr.Image(type='filepath', image_mode=None, sources=['upload', 'clipboard'], label='Image')
                threshold = gr.Slider(0, 1, SCORE_THR, step=0.01, label='Minimum score')
            with gr.Column(scale=len(models) + 1, min_width=300), gr.Row():
                results = []
                for model in models:
                    with gr.Column(min_width=300):
                        gr.Markdown(f'### {model.name}')
                        if model.deviation:
                            gr.Markdown(f'Differs from PyTorch in this runtime: {model.deviation}')
                        drawing = gr.Image(format='png', show_label=False, buttons=['download', 'fullscreen'],
                                           interactive=False, elem_classes='drawing')
                        results += [drawing, gr.Dataframe(
                            headers=COLUMNS[model.predictor.task], interactive=False, wrap=True,
                            column_widths=WIDTHS.get(model.predictor.task))]
        # Gradio's preprocessing would open the image and show its own message and paths if it is damaged.
        shown = gr.on([image.change, threshold.change], predict, [image, threshold], results, api_name='predict',
                      preprocess=False, trigger_mode='always_last', show_progress_on=image,
                      concurrency_limit=1)  # the models are not thread-safe
        shown.failure(lambda: [None] * len(results), None, results, api_visibility='private')  # of another image
    return app


def load_models(models: Sequence[str], configs: Sequence[str] = (), device: str | None = None,
                runtime: str | None = None, precision: str | None = None) -> list[Served]:
    """Loads the models of a page; the arguments are those of :func:`serve`."""
    if wrong := [path for path in models if is_config(path)]:
        raise UsageError(f'{wrong[0]} is a config: pass a checkpoint and --config {wrong[0]}'
                         + path_hint(wrong[0]))
    if len(configs) > len(models):
        raise UsageError(f'--config must have at most {len(models)} values, one per model, got {len(configs)}')
    return [Served(path, config, device=device, runtime=runtime, precision=precision)
            for path, config in zip_longest(models, configs)]


def serve(models: Sequence[str], host: str = '127.0.0.1', port: int = 7860, configs: Sequence[str] = (),
          device: str | None = None, runtime: str | None = None, precision: str | None = None, block: bool = True
          ) -> Any:
    """Shows the predictions of models side by side on a web page, with Gradio.

    Args:
        models (Sequence[str]): Checkpoints, work dirs of trainings, and files written by ``mmvit export``.
        host (str): Address to listen on; ``0.0.0.0`` accepts clients from all machines, without a password. Defaults
            to ``127.0.0.1``.
        port (int): Port to listen on. Defaults to 7860.
        configs (Sequence[str]): A config per checkpoint, in the order of ``models``. Defaults to (): the configs that
            the trainings saved beside them.
        device (str | None): Device of checkpoints, e.g. ``cuda:1``. Defaults to None: a GPU if possible.
        runtime (str | None): Runtime of exported files; see :class:`mmvit.inference.Predictor`.
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
    app = build_app(load_models(models, configs, device, runtime, precision))
    try:
        app.launch(server_name=host, server_port=port, max_file_size=MAX_FILE_SIZE, share=False, ssr_mode=False,
                   footer_links=['api'], css=STYLE, prevent_thread_lock=not block)
    except OSError as error:
        raise UsageError(f'--host {host} --port {port} cannot be used: {error}') from error
    return app
