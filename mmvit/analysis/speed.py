"""Measures the time and memory of networks relative to a baseline, and their throughput."""
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from mmvit_backbones import get_model
from mmvit_backbones.errors import MMViTError, UsageError, first_line
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.zoo.build import import_mmpretrain
from mmvit_backbones.zoo.variants import find_names

from ..inference.runtimes import find_device
from .counters import SavedStorages

NEEDS_MMPRETRAIN = f'needs mmpretrain: {install_command("mmpretrain")}'
SWIN_TINY = 'timm:swin_tiny_patch4_window7_224'


class Benchmark(NamedTuple):
    """Figures of networks relative to a baseline; smaller is better. As text, it is JSON.

    Attributes:
        about (str): The conditions.
        torch (str): Version of PyTorch.
        saved_bytes_per_image_of_baseline (int): Bytes that autograd saves for the backward pass of the baseline.
        models (dict[str, dict[str, float]]): By network: ``forward``, the relative time of a forward pass in evaluation
            mode without gradients; ``train_step``, that of a forward and a backward pass in training mode;
            ``saved_bytes_per_image``, without parameters and buffers; and ``saved_ratio``, relative to the baseline.
    """

    about: str
    torch: str
    saved_bytes_per_image_of_baseline: int
    models: dict[str, dict[str, float]]

    def __str__(self) -> str:
        return json.dumps(self._asdict(), indent=1)


def benchmark(networks: Sequence[str], baseline: str = SWIN_TINY, override: dict[str, Any] | None = None,
              dense: bool = False, size: tuple[int, int] | None = None, batch_size: int | None = None,
              repeats: int = 7, threads: int = 2, device: str = 'cpu', memory_only: bool = False) -> Benchmark:
    """Measures the time and memory of networks with random weights relative to a baseline.

    A network and the baseline are timed alternately, and each relative time is the median of ``repeats`` ratios.

    Args:
        networks (Sequence[str]): Names or shell patterns.
        baseline (str): Name of a network, or ``timm:NAME`` or ``mmpretrain:NAME``. Defaults to timm's Swin-T.
        override (dict[str, Any] | None): Arguments of the networks' backbones. Defaults to None.
        dense (bool): Whether to measure backbones that return all feature maps. Defaults to False, which measures
            classifiers.
        size (tuple[int, int] | None): Height and width in pixels. Defaults to None, which means (224, 224), or
            (448, 672) if ``dense``.
        batch_size (int | None): Images per batch. Defaults to None, which means 4, or 1 if ``dense``.
        repeats (int): Number of measurements. Defaults to 7.
        threads (int): Number of CPU threads. Defaults to 2.
        device (str): Defaults to ``'cpu'``.
        memory_only (bool): Whether to omit the times. Defaults to False.

    Raises:
        UsageError: If a network cannot be built or measured with these arguments.
    """
    names, height_width = find_names(networks), size or default_size(dense)
    with measuring(threads):
        images = torch.randn(batch_size or (1 if dense else 4), 3, *height_width, device=find_device(device))
        other = build_other(baseline, 'baseline', dense, height_width).to(images.device)
        other_saved = saved_bytes(other, images)
        models = {}
        for name in names:
            model = build(name, dense, override).to(images.device)
            saved = saved_bytes(model, images)
            figures = dict(saved_bytes_per_image=saved, saved_ratio=round(saved / other_saved, 3))
            if not memory_only:
                figures = dict(
                    forward=median_ratio(forward, model, other, images, repeats),
                    train_step=median_ratio(train_step, model, other, images, repeats), **figures)
            models[name] = figures
            print(name, figures, file=sys.stderr, flush=True)
    about = (f'relative to {baseline}, random weights, {height_width[0]} x {height_width[1]} (height x width), '
             f'batch {len(images)}, {device}, {threads} CPU threads, median of {repeats} ratios')
    return Benchmark(about, torch.__version__, other_saved, models)


def measure_throughput(networks: Sequence[str], throughput: Sequence[int], override: dict[str, Any] | None = None,
                       dense: bool = False, batch_size: int = 16, repeats: int = 7, threads: int = 2,
                       device: str = 'cpu') -> dict[str, dict[int, float]]:
    """Returns the median images per second in evaluation mode, by network and side of square images.

    Args:
        throughput (Sequence[int]): Sides of the images in pixels.
        networks, override, dense, batch_size, repeats, threads, device: As in :func:`benchmark`. ``batch_size``
            defaults to 16.

    Raises:
        UsageError: As in :func:`benchmark`.
    """
    names, result = find_names(networks), {}
    with measuring(threads):
        for name in names:
            model = build(name, dense, override).to(find_device(device))
            result[name] = {}
            for side in throughput:
                images = torch.randn(batch_size, 3, side, side, device=find_device(device))
                forward(model, images)
                seconds = statistics.median(timed(forward, model, images) for _ in range(repeats))
                result[name][side] = round(batch_size / seconds, 2)
            print(name, result[name], file=sys.stderr, flush=True)
    return result


def default_size(dense: bool) -> tuple[int, int]:
    return (448, 672) if dense else (224, 224)


@contextmanager
def measuring(threads: int) -> Iterator[None]:
    """Sets the number of CPU threads, and reports measurements that fail, e.g. for too small images, as UsageError."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(False), torch.enable_grad():  # training is measured wherever this is called
            yield
    except MMViTError:
        raise
    except (RuntimeError, ValueError) as error:  # e.g. too small images for batch norms, or too little memory
        raise UsageError(f'the networks cannot be measured with these options: {first_line(error)}') from error
    finally:
        torch.set_num_threads(before)


# ---- networks


def build(name: str, dense: bool, override: dict | None) -> torch.nn.Module:
    try:
        return get_model(name, 'backbone' if dense else 'classification', **(override or {}))
    except (TypeError, ValueError) as error:
        raise UsageError(f'override: {first_line(error)}') from error
    except ImportError:
        raise UsageError(f'the classifier {name} {NEEDS_MMPRETRAIN}; or measure it as dense') from None


def build_other(name: str, argument: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    """Builds a network of this package, or for ``LIBRARY:NAME`` of another library; errors start with ``argument``."""
    library, _, plain_name = name.rpartition(':')
    if library not in LIBRARIES:
        raise UsageError(f'{argument} must be NAME, timm:NAME or mmpretrain:NAME, got {name}')
    try:
        return LIBRARIES[library](plain_name, dense, size)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = error if isinstance(error, UsageError) else first_line(error)
        raise UsageError(f'{argument} {name}: {reason}') from error
    except ImportError:
        if library == 'timm':
            raise UsageError(f'{argument} {name} needs timm: pip install timm, or use a network listed by mmvit '
                             'models') from None
        raise UsageError(f'{argument} {name} {NEEDS_MMPRETRAIN}') from None


def build_own(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    return get_model(name, 'backbone' if dense else 'classification')


def build_timm(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    import timm
    from timm.models import get_pretrained_cfg
    options: dict = dict(features_only=True) if dense else {}
    if (settings := get_pretrained_cfg(name)) and settings.fixed_input_size:
        options['img_size'] = size
    return timm.create_model(name, pretrained=False, **options)


def build_mmpretrain(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    if dense:
        raise UsageError('networks of mmpretrain have no form for dense prediction')
    import_mmpretrain()
    from mmpretrain import get_model
    model = get_model(name, pretrained=False)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f'model must be a torch.nn.Module, got a {type(model).__name__}')
    return model


LIBRARIES: dict[str, Callable[..., torch.nn.Module]] = {
    '': build_own, 'timm': build_timm, 'mmpretrain': build_mmpretrain}


# ---- measurements


def forward(model: torch.nn.Module, images: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad():
        model(images)


def train_step(model: torch.nn.Module, images: torch.Tensor) -> None:
    model.train()
    model.zero_grad(set_to_none=True)
    loss(model(images)).backward()


def loss(outputs: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    return torch.as_tensor(sum(out.square().mean() for out in outputs))


def timed(step: Callable, model: torch.nn.Module, images: torch.Tensor) -> float:
    wait = torch.cuda.synchronize if images.is_cuda else lambda: None
    wait()
    start = time.perf_counter()
    step(model, images)
    wait()
    return time.perf_counter() - start


def median_ratio(step: Callable, model: torch.nn.Module, baseline: torch.nn.Module, images: torch.Tensor,
                 repeats: int) -> float:
    for network in (model, baseline):
        step(network, images)
    ratios = [timed(step, model, images) / timed(step, baseline, images) for _ in range(repeats)]
    return round(statistics.median(ratios), 3)


def saved_bytes(model: torch.nn.Module, images: torch.Tensor) -> int:
    """Returns the bytes per image that autograd saves for the backward pass."""
    model.train()
    with SavedStorages(model) as saved:
        outputs = model(images)  # kept alive because reused addresses would be counted once
        total = saved.num_bytes
    del outputs
    return total // len(images)

