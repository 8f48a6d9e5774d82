"""Compares the speed of a network or a whole model in several runtimes."""
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from ..errors import UsageError
from ..export.graphs import save, to_onnx
from ..export.models import export_model
from ..export.parts import check_exportable, split
from ..export.quantize import to_int8
from ..inference import Predictor
from ..inference.runtimes import Checkpoint, session_of

RUNTIMES = 'eager', 'compile', 'onnxruntime', 'int8'


def prepare_whole(runtime: str, path: str, images: Sequence[np.ndarray], folder: Path) -> Callable[[Sequence], object]:
    """Returns a function that runs a whole model on a sequence of images, one by one, on the CPU.

    Args:
        runtime (str): One of ``RUNTIMES``; ``compile`` compiles only the backbone.
        path (str): Training checkpoint.
        images (Sequence[np.ndarray]): RGB images ``(height, width, 3)``, uint8, to export the model and calibrate
            ``int8``.
        folder (Path): Folder for exported files.

    Raises:
        CheckpointError: If the checkpoint is missing or invalid.
        UsageError: If ``path`` is an exported file, or the model cannot be exported for this runtime.
    """
    model = Predictor(path, device='cpu').model
    if not isinstance(model, Checkpoint):
        raise UsageError(f'{path} must be a training checkpoint, got an exported file')
    function = model.run
    if runtime == 'compile':
        model.module.get_submodule('backbone').compile()
    elif runtime != 'eager':
        file = folder / 'whole.onnx'
        check_exportable(model.cfg)
        parts = split(model.module, model.cfg, True)
        export_model(parts, file, model.details, images[0])
        if runtime == 'int8':
            to_int8(file, [image if parts.takes == 'image' else image[None] for image in images], parts.takes)
        function = Predictor(file, device='cpu').model.run
    return lambda batch: [function([image]) for image in batch]


def prepare(runtime: str, model: nn.Module, images: Tensor, folder: Path) -> Callable[[Tensor], object]:
    """Returns a function that runs a network on a batch of images ``(B, 3, H, W)`` on the CPU.

    Args:
        runtime (str): One of ``RUNTIMES``.
        model (nn.Module): The network, which is not changed.
        images (Tensor): Images to export the network and calibrate ``int8``.
        folder (Path): Folder for exported files.
    """
    if runtime == 'eager':
        return model
    if runtime == 'compile':
        return torch.compile(model)
    path = folder / 'network.onnx'
    if not path.exists():
        save(to_onnx(model, (images, ), ({0: Dim.DYNAMIC}, ), ['images'], ['logits']), path)
    if runtime == 'int8':
        path = path.rename(folder / 'int8.onnx')
        to_int8(path, [image[None].numpy() for image in images], source='images')
    session = session_of(path)
    return lambda images: session.run(None, dict(images=images.numpy()))


@torch.inference_mode()
def measure(functions: dict[str, Callable], images: Sequence | Tensor, repeats: int) -> dict[str, dict[str, float]]:
    """Measures the speed of functions, alternating their calls so that other load on the machine affects all equally.

    Returns:
        dict[str, dict[str, float]]: Results by name of the function: the latencies ``p50_ms`` and ``p95_ms`` for one
        image, the throughput ``images_per_second`` for all images, and ``speedup``, the median ratio of the first
        function's latency to this function's latency.
    """
    seconds = {name: ([], []) for name in functions}
    for number in range(repeats + 1):
        for name, function in functions.items():
            for inputs, times in zip((images[:1], images), seconds[name]):
                start = time.perf_counter()
                function(inputs)
                if number:  # the first round is a warm-up
                    times.append(time.perf_counter() - start)
    latency = {name: np.array(single) * 1000 for name, (single, _) in seconds.items()}
    first = next(iter(functions))
    return {name: dict(
        p50_ms=round(float(np.median(latency[name])), 1), p95_ms=round(float(np.percentile(latency[name], 95)), 1),
        images_per_second=round(len(images) / statistics.median(many), 2),
        speedup=round(float(np.median(latency[first] / latency[name])), 2)) for name, (_, many) in seconds.items()}


def compare_runtimes(prepare: Callable[..., Callable], images: Sequence | Tensor, runtimes: Sequence[str],
                     repeats: int) -> dict[str, dict]:
    """Measures the speed of several runtimes.

    Args:
        prepare (Callable): :func:`prepare` or :func:`prepare_whole` with all arguments bound, except ``runtime`` and
            ``folder``.
        images (Sequence | Tensor): The images.
        runtimes (Sequence[str]): Some of ``RUNTIMES``.
        repeats (int): Number of timed rounds; each calls every runtime with one image and with all images.

    Returns:
        dict[str, dict]: The results of :func:`measure` by runtime, or ``error`` for a runtime that fails.
    """
    functions, failed = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for runtime in sorted(runtimes, key=RUNTIMES.index):
            try:
                function = prepare(runtime, folder=Path(folder))
                with torch.inference_mode():
                    function(images[:1])
                    function(images)
            except Exception as error:  # a compiler can raise any exception
                while error.__cause__:
                    error = error.__cause__
                failed[runtime] = dict(error=f'{type(error).__name__}: {error}'.splitlines()[0][:200])
                continue
            functions[runtime] = function
        return {**(measure(functions, images, repeats) if functions else {}), **failed}
