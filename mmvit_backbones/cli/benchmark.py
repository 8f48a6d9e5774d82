"""Measures the time and memory of networks relative to a reference network."""
import argparse
import csv
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.config import Config

import mmvit_backbones

from ..analysis.counters import SavedStorages
from ..data.checks import check_data
from ..errors import UsageError, first_line
from ..export.images import CALIBRATION_IMAGES, images_of, read
from ..inference.predictor import config_of
from ..inference.runtimes import find_device
from ..inference.sources import find_images
from ..utils.installation import install_command
from ..utils.runs import find_checkpoint
from ..zoo.build import import_mmpretrain
from ..zoo.checks import check_backbone, check_checkpoint
from ..zoo.variants import find_names
from .runtimes import COLUMNS, Network, WholeModel, compare_runtimes, table_of

NEEDS_MMPRETRAIN = f'needs mmpretrain: {install_command("mmpretrain")}'
SWIN_TINY = 'timm:swin_tiny_patch4_window7_224'
# Arguments that --runtime and --throughput cannot be combined with.
EXCLUDED = dict(runtime=('against', 'override', 'memory_only', 'throughput'),
                throughput=('against', 'size', 'memory_only'))


def main(args: argparse.Namespace) -> None:
    check_options(args)
    torch.set_num_threads(args.threads)
    args.device = find_device(args.device)
    if args.runtime:
        compared = (compare_runtimes(subject, args.runtime, args.repeats) for subject in subjects(args))
        report(args, [row for rows in compared for row in rows])
        return
    names = find_names(args.networks)
    measure = throughputs if args.throughput else ratios
    try:
        result = measure(args, names)
    except (RuntimeError, ValueError) as error:  # e.g. too small images for batch norms, or too little memory
        if isinstance(error, UsageError):
            raise
        raise UsageError(f'the networks cannot be measured with these options: {first_line(error)}') from error
    print('the networks have random weights, on which time and memory do not depend', file=sys.stderr)
    print(json.dumps(result, indent=1))


def check_options(args: argparse.Namespace) -> None:
    for option, excluded in EXCLUDED.items():
        for other in excluded:
            if getattr(args, option) and getattr(args, other) not in (None, False, {}):
                raise UsageError(f'--{other.replace("_", "-")} cannot be combined with --{option}')
    for option in 'images', 'config', 'csv':
        if getattr(args, option) and not args.runtime:
            raise UsageError(f'--{option} requires --runtime')
    checkpoints = [name for name in args.networks if is_checkpoint(name)]
    for option in 'images', 'config':
        if getattr(args, option) and not checkpoints:
            raise UsageError(f'--{option} requires a checkpoint (.pth) or a work dir, got only '
                             f'{", ".join(args.networks)}')
    if args.runtime and args.size and len(checkpoints) == len(args.networks):
        raise UsageError('--size requires a network; checkpoints resize images as in their test')
    if args.runtime and args.device != 'cpu':
        raise UsageError(f'--device must be cpu with --runtime, got {args.device}')


def ratios(args: argparse.Namespace, names: list[str]) -> dict:
    """Returns the time and memory of each network relative to the reference."""
    size = args.size or ((448, 672) if args.dense else (224, 224))
    images = torch.randn(args.batch_size or (1 if args.dense else 4), 3, *size, device=args.device)
    against = SWIN_TINY if args.against is None else args.against
    other = build_other(against, '--against', args.dense, size).to(args.device)
    other_saved = saved_bytes(other, images)
    result: dict = dict(
        about=f'relative to {against}, {size[0]} x {size[1]} (height x width), batch {len(images)}, {args.device}, '
              f'{args.threads} CPU threads, median of {args.repeats} ratios',
        torch=torch.__version__, saved_bytes_per_image_of_other=other_saved, models={})
    for name in names:
        model = build(name, args.dense, args.override).to(args.device)
        saved = saved_bytes(model, images)
        figures = dict(saved_bytes_per_image=saved, saved_ratio=round(saved / other_saved, 3))
        if not args.memory_only:
            figures = dict(
                forward=median_ratio(forward, model, other, images, args.repeats),
                train_step=median_ratio(train_step, model, other, images, args.repeats), **figures)
        result['models'][name] = figures
        print(name, figures, file=sys.stderr, flush=True)
    return result


def throughputs(args: argparse.Namespace, names: list[str]) -> dict:
    """Returns the median images per second by network and image side, in evaluation mode."""
    result = {}
    for name in names:
        model = build(name, args.dense, args.override).to(args.device)
        result[name] = {}
        for side in args.throughput:
            images = torch.randn(args.batch_size or 16, 3, side, side, device=args.device)
            forward(model, images)
            seconds = statistics.median(timed(forward, model, images) for _ in range(args.repeats))
            result[name][side] = round(len(images) / seconds, 2)
        print(name, result[name], file=sys.stderr, flush=True)
    return result


def is_checkpoint(name: str) -> bool:
    return name.endswith('.pth') or Path(name).is_dir()


def subjects(args: argparse.Namespace) -> Iterator[Network | WholeModel]:
    """Yields the networks and models to compare in several runtimes."""
    size, count = args.size or ((448, 672) if args.dense else (224, 224)), args.batch_size or 4
    for name in args.networks:
        if is_checkpoint(name):
            yield whole_model(args, name, count)
            continue
        for plain_name in [name] if ':' in name else find_names([name]):
            model = build_other(plain_name, 'network', args.dense, size).eval().requires_grad_(False)
            yield Network(plain_name, model, torch.rand(count, 3, *size))


def whole_model(args: argparse.Namespace, name: str, count: int) -> WholeModel:
    """Checks a checkpoint, and reads the images to time it on: --images, or the first of the config's test set."""
    checkpoint = find_checkpoint(name)
    cfg: Config = config_of(args.config, checkpoint)
    check_backbone(cfg)
    check_checkpoint(checkpoint)
    if args.images:
        files = find_images(args.images)
        return WholeModel(name, cfg, checkpoint, read(files, count), read(files, CALIBRATION_IMAGES), False)
    check_data(cfg, ['train', 'test'] if 'int8' in args.runtime else ['test'], content=False)
    calibration = read(images_of(cfg, 'train'), CALIBRATION_IMAGES) if 'int8' in args.runtime else []
    return WholeModel(name, cfg, checkpoint, read(images_of(cfg, 'test'), count), calibration, True)


def report(args: argparse.Namespace, rows: list[dict]) -> None:
    """Prints a table with its conditions, and writes it to --csv."""
    versions = ', '.join(f'{name} {version(name)}' for name in ('torch', 'onnxruntime', 'openvino') if find_spec(name))
    print(f'{processor()}, {args.threads} threads, {versions}; median of {args.repeats}\n\n{table_of(rows)}')
    if args.csv:
        with open(args.csv, 'w', newline='') as file:
            writer = csv.DictWriter(file, [*COLUMNS, 'error'])
            writer.writeheader()
            writer.writerows(rows)


def processor() -> str:
    """Returns the name of the CPU."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(': ')[2] for line in lines if line.startswith('model name')), platform.processor())


def build(name: str, dense: bool, overrides: dict) -> torch.nn.Module:
    try:
        return mmvit_backbones.get_model(name, 'backbone' if dense else 'classification', **overrides)
    except (TypeError, ValueError) as error:
        raise UsageError(f'--override: {first_line(error)}') from error
    except ImportError:
        raise UsageError(f'the classifier {name} {NEEDS_MMPRETRAIN}, or pass --dense') from None


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
    return mmvit_backbones.get_model(name, 'backbone' if dense else 'classification')


def build_timm(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    import timm
    from timm.models import get_pretrained_cfg
    options: dict = dict(features_only=True) if dense else {}
    if (settings := get_pretrained_cfg(name)) and settings.fixed_input_size:
        options['img_size'] = size
    return timm.create_model(name, pretrained=False, **options)


def build_mmpretrain(name: str, dense: bool, size: tuple[int, int]) -> torch.nn.Module:
    if dense:
        raise UsageError('networks of mmpretrain cannot be combined with --dense')
    import_mmpretrain()
    from mmpretrain import get_model
    model = get_model(name, pretrained=False)
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f'model must be a torch.nn.Module, got a {type(model).__name__}')
    return model


LIBRARIES = {'': build_own, 'timm': build_timm, 'mmpretrain': build_mmpretrain}


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


def median_ratio(step: Callable, model: torch.nn.Module, other: torch.nn.Module, images: torch.Tensor,
                 repeats: int) -> float:
    for network in (model, other):
        step(network, images)
    return round(statistics.median(timed(step, model, images) / timed(step, other, images) for _ in range(repeats)), 3)


def saved_bytes(model: torch.nn.Module, images: torch.Tensor) -> int:
    """Returns the bytes per image that autograd saves for the backward pass."""
    model.train()
    with SavedStorages(model) as saved:
        outputs = model(images)  # kept alive because reused addresses would be counted once
        total = saved.num_bytes
    del outputs
    return total // len(images)

