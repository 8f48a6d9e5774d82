"""Measures the time and memory of networks relative to a baseline, and of whole models."""
import statistics
import sys
from collections.abc import Sequence
from itertools import chain
from typing import Literal, get_args

import torch
from mmengine.registry import MODELS

from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.utils.image_sizes import height_and_width
from mmvit_backbones.utils.installation import install_command
from mmvit_backbones.zoo.settings import setting
from mmvit_backbones.zoo.variants import find_names, find_variant

from ..inference.runtimes import find_device
from .contenders import Contender, Precision, Table, measuring
from .timing import name_of, take_turns
from .whole_models import is_whole, measure_whole_models

SWIN_TINY = 'timm:swin_tiny_patch4_window7_224'
def benchmark(networks: Sequence[str], baseline: str | None = None, dense: bool = False,
              size: int | Sequence[int] | None = None, batch_size: int | None = None, repeats: int = 7,
              threads: int = 2, device: str = 'cpu', precision: Precision = 'float32') -> Table:
    """Measures the time and memory of networks with random weights relative to a baseline, or of whole models.

    A network and the baseline are timed alternately, and each relative time is the median of ``repeats`` ratios. Of
    whole models, a step of the training is measured: preprocessing, losses, gradients and optimizer, without data
    loading, on random images and annotations. Each model is alone in memory.

    Args:
        networks (Sequence[str]): Names, shell patterns and ``timm:NAME``; or for whole models configs, by name or file,
            and work dirs of trainings.
        baseline (str | None): Name of a network, or ``timm:NAME``. Defaults to timm's Swin-T; whole models have none.
        dense (bool): Whether to measure backbones as in detectors, which return all feature maps, without heads, and
            without activation checkpointing. Defaults to False.
        size (int | Sequence[int] | None): Side of the images, or height and width, in pixels. Defaults to None: 224 and
            224, or 448 and 672 if ``dense``; for whole detectors 800 and 1333, for segmenters 512 and 512.
        batch_size (int | None): Images per batch. Defaults to None: 4, 1 if ``dense``, and 2 for whole models.
        repeats (int): Number of measurements. Defaults to 7.
        threads (int): Number of CPU threads. Defaults to 2.
        device (str): Device of the measurements, e.g. ``'cuda'``. Defaults to ``'cpu'``.
        precision (str): Dtype of autocast, ``'float16'`` or ``'bfloat16'``, or ``'float32'`` without autocast, whatever
            that of a config. Defaults to ``'float32'``.

    Raises:
        UsageError: If a network or a config cannot be built or measured with these arguments. Too little memory of a
            GPU, or no kernel for ``precision``, is an ``error`` in the row of a whole model.
    """
    if precision not in get_args(Precision):
        raise UsageError(f'precision must be one of {", ".join(get_args(Precision))}, got {precision!r}')
    if any(map(is_whole, networks)):
        if option := 'baseline' if baseline else 'dense' if dense else '':
            raise UsageError(f'{option} (--{option}) is for networks, got whole models, i.e. configs or work dirs')
        return measure_whole_models(networks, size, batch_size or 2, repeats, threads, device, precision)
    found = ([name] if ':' in name else find_names([name]) for name in networks)  # networks of timm have a colon
    names, baseline = list(dict.fromkeys(chain.from_iterable(found))), baseline or SWIN_TINY
    height, width = height_and_width(((448, 672) if dense else 224) if size is None else size)
    with measuring(threads):
        images = torch.randn(batch_size or (1 if dense else 4), 3, height, width, device=find_device(device))
        with torch.cuda.device_of(images):
            other = Contender(baseline, build(baseline, 'baseline', dense, (height, width)), images, precision)
            other.measure_memory()
            rows = [other.row]
            for name in names:
                contender = Contender(name, build(name, 'network', dense, (height, width)), images, precision)
                contender.measure_memory()
                for part in 'forward', 'step':
                    time_beside(other, contender, part, repeats)
                rows.append(contender.row)
                print(contender.row, file=sys.stderr, flush=True)
    for row in rows:
        row['saved_ratio'] = round(row['saved_bytes_per_image'] / other.row['saved_bytes_per_image'], 3)
    about = (f'{name_of(images.device)}, torch {torch.__version__}, {height} x {width} (height x width), batch '
             f'{len(images)}, {precision}, {threads} CPU threads, random weights, median of {repeats}; ratios are '
             f'relative to {baseline}')
    return Table(about, rows)


def time_beside(baseline: Contender, contender: Contender, part: Literal['forward', 'step'], repeats: int) -> None:
    """Adds the times of a part to the rows; the baseline keeps those beside the first network."""
    pair = baseline, contender
    for each in pair:
        each.model.train(part == 'step')
    times = take_turns([getattr(each, part) for each in pair], repeats, contender.images.device)
    for each, seconds in zip(pair, times):
        ratio = statistics.median(own / others for own, others in zip(seconds, times[0]))
        median = statistics.median(seconds)
        each.row.setdefault(f'{part}_ms', 1000 * median)
        each.row.setdefault(f'{part}_ratio', round(ratio, 3))
        if part == 'forward':
            each.row.setdefault('images_per_second', len(each.images) / median)


def build(name: str, argument: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    """Builds a network of this package, or ``timm:NAME``; errors start with ``argument``."""
    library, _, plain_name = name.rpartition(':')
    if library not in ('', 'timm'):
        raise UsageError(f'{argument} must be NAME or timm:NAME, got {name}')
    try:
        if library:
            return build_timm(plain_name, dense, size)
        if dense:
            return MODELS.build({**setting(find_variant(plain_name), 'dense').backbone, 'with_cp': False})
        return get_model(plain_name)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f'{argument} {name}: {first_line(error)}') from error
    except ImportError:
        remedy = 'timm: pip install timm' if library else (
            f'mmpretrain: {install_command("mmpretrain")}; or measure it as dense')
        raise UsageError(f'{argument} {name} needs {remedy}') from None


def build_timm(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    import timm
    from timm.models import get_pretrained_cfg
    options: dict = dict(features_only=True) if dense else {}
    if (settings := get_pretrained_cfg(name)) and settings.fixed_input_size:
        options['img_size'] = size
    return timm.create_model(name, pretrained=False, **options)
