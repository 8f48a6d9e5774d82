"""One network in several runtimes, timed side by side."""
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from ..accelerate import accelerate
from ..export import save, to_onnx

RUNTIMES = 'eager', 'accelerate', 'compile', 'onnxruntime', 'aoti', 'int8'


def prepare(runtime: str, model: nn.Module, images: Tensor, folder: Path) -> Callable[[Tensor], object]:
    """A function of images that runs a network on the CPU.

    Args:
        runtime (str): One of ``RUNTIMES``.
        model (nn.Module): In evaluation mode; it stays as it is.
        images (Tensor): As many of the size to be run as serve for calibration, at least two.
        folder (Path): For files that the function needs.
    """
    if runtime == 'eager':
        return model
    if runtime == 'accelerate':
        return accelerate(copy.deepcopy(model), inference=True)
    if runtime == 'compile':
        return torch.compile(model)
    if runtime == 'aoti':
        program = torch.export.export(model, (images, ), dynamic_shapes=({0: Dim.DYNAMIC}, ), strict=False)
        return torch._inductor.aoti_load_package(
            torch._inductor.aoti_compile_and_package(program, package_path=str(folder / 'network.pt2')))
    path = folder / 'network.onnx'
    if not path.exists():
        save(to_onnx(model, (images, ), ({0: Dim.DYNAMIC}, ), ['images'], ['logits']), path)
    if runtime == 'int8':
        from .quantize import to_int8
        path = path.rename(folder / 'int8.onnx')
        to_int8(path, [image[None].numpy() for image in images], bound=float('inf'), source='images')
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda images: session.run(None, dict(images=images.numpy()))


@torch.inference_mode()
def measure(functions: dict[str, Callable], images: Tensor, repeats: int) -> dict[str, dict[str, float]]:
    """Times functions in turns, so that what else the machine does meets all of them alike.

    Returns:
        dict[str, dict[str, float]]: By name ``p50_ms`` and ``p95_ms`` of one image, ``images_per_second`` of all at
        once, and ``speedup`` of ``p50_ms`` over the first function.
    """
    seconds = {name: ([], []) for name in functions}
    for number in range(repeats + 1):
        for name, function in functions.items():
            for inputs, times in zip((images[:1], images), seconds[name]):
                start = time.perf_counter()
                function(inputs)
                if number:  # the first warms up
                    times.append(time.perf_counter() - start)
    latency = {name: np.array(single) * 1000 for name, (single, _) in seconds.items()}
    first = next(iter(functions))
    return {name: dict(
        p50_ms=round(float(np.median(latency[name])), 1), p95_ms=round(float(np.percentile(latency[name], 95)), 1),
        images_per_second=round(len(images) / statistics.median(many), 2),
        speedup=round(float(np.median(latency[first] / latency[name])), 2)) for name, (_, many) in seconds.items()}


def compare_runtimes(model: nn.Module, images: Tensor, runtimes: list[str], repeats: int) -> dict[str, dict]:
    """:func:`measure` of a model in several runtimes; one that cannot run it says why instead."""
    model = model.eval().requires_grad_(False)
    functions, failed = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for runtime in sorted(runtimes, key=RUNTIMES.index):
            try:
                function = prepare(runtime, model, images, Path(folder))
                with torch.inference_mode():
                    function(images[:1]), function(images)
            except Exception as error:  # a compiler can fail in any way
                while error.__cause__:
                    error = error.__cause__
                failed[runtime] = dict(error=f'{type(error).__name__}: {error}'.splitlines()[0][:200])
                continue
            functions[runtime] = function
        return {**(measure(functions, images, repeats) if functions else {}), **failed}
