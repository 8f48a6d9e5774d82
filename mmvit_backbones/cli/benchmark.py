"""Measures the time and memory of networks relative to a reference network.

    mmvit benchmark vitaev2_small reswin_tiny       classification, 224 x 224, batch 4
    mmvit benchmark vitaev2_small --dense           backbone for dense prediction, 448 x 672, batch 1
    mmvit benchmark vitaev2_small --against reswin_tiny    with reswin_tiny as the reference
    mmvit benchmark reswin_tiny --against mmpretrain:swin-tiny_16xb64_in1k
    mmvit benchmark 'rest*' --throughput 224 384    images per second
    mmvit benchmark rest_lite timm:swin_tiny_patch4_window7_224 --runtime eager onnxruntime int8
    mmvit benchmark work_dirs/demo/detection/epoch_40.pth --runtime eager onnxruntime    a whole model

The output is JSON with these figures for each network; smaller is better:

- `forward`: time of a forward pass in evaluation mode without gradients, relative to the reference
- `train_step`: time of forward and backward pass in training mode, relative to the reference
- `saved_bytes_per_image`: bytes that autograd saves for the backward pass, without parameters and buffers
- `saved_ratio`: saved bytes relative to the reference

The network and the reference are timed alternately, and each relative time is the median of --repeats ratios.

With --throughput, the output has the images per second of each network and image side.

With --runtime, the output has for each network and runtime: the latency of one image in ms (median and 95th
percentile), the images per second in batches, and the speedup over eager mode, or over the first runtime of the output
if eager mode is not measured; or `error`, if the runtime fails. A training checkpoint is timed as a whole model, from
the images in --images to the results.
"""
import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

import mmvit_backbones

from ..errors import UsageError, first_line
from ..inference import Predictor
from ..inference.runtimes import find_device
from ..inference.sources import find_images
from ..utils.images import read_rgb
from ..utils.installation import install_command
from ..zoo.build import import_mmpretrain
from ..zoo.variants import find_names
from .arguments import ConfigOptions, pixels, positive, whole
from .measure import SavedStorages
from .runtimes import RUNTIMES, compare_runtimes, prepare, prepare_whole

IMAGES = 'data/coco_mini/val'
NEEDS_MMPRETRAIN = f'needs mmpretrain: {install_command("mmpretrain")}'
SWIN_TINY = 'timm:swin_tiny_patch4_window7_224'
# Arguments that --runtime and --throughput cannot be combined with.
EXCLUDED = dict(runtime=('against', 'override', 'dense', 'memory_only', 'throughput'),
                throughput=('against', 'size', 'memory_only'))


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('networks', nargs='+', help='names listed by mmvit models, or shell patterns; with --runtime '
                                                    'also timm:NAME, mmpretrain:NAME, and training '
                                                    'checkpoints (.pth)')
    parser.add_argument('--against', help='reference network: NAME, timm:NAME or mmpretrain:NAME (default: '
                                          f'{SWIN_TINY})')
    parser.add_argument('--override', nargs='+', action=ConfigOptions, default={}, metavar='ARGUMENT=VALUE',
                        help='override arguments of the measured backbones, e.g. window_size=14 peg=True')
    parser.add_argument('--dense', action='store_true',
                        help='measure backbones that return all feature maps, without heads')
    parser.add_argument('--size', type=pixels, nargs=2, metavar=('H', 'W'),
                        help='image size in pixels (default: 224 224; 448 672 with --dense)')
    parser.add_argument('--batch-size', type=positive,
                        help='images per batch (default: 4; 1 with --dense; 16 with --throughput)')
    parser.add_argument('--repeats', type=positive, default=7,
                        help='number of measurements of each network (default: %(default)s)')
    parser.add_argument('--threads', type=whole(1, 1024), default=2,
                        help='number of CPU threads (default: %(default)s)')
    parser.add_argument('--device', default='cpu', help='cpu or cuda (default: %(default)s)')
    parser.add_argument('--memory-only', action='store_true', help='report only the saved bytes')
    parser.add_argument('--throughput', type=pixels, nargs='+', metavar='SIZE',
                        help='measure images per second on square images with these sides, in pixels')
    parser.add_argument('--runtime', nargs='+', choices=RUNTIMES, help='compare these runtimes on the CPU')
    parser.add_argument('--images', nargs='+', metavar='IMAGE',
                        help=f'image files or folders for training checkpoints (default: {IMAGES})')
    return parser


def main(args: argparse.Namespace) -> None:
    check_options(args)
    torch.set_num_threads(args.threads)
    args.device = find_device(args.device)
    if args.runtime:
        print(json.dumps(runtimes(args), indent=1))
        return
    names = find_names(args.networks)
    print('the networks have random weights, on which time and memory do not depend', file=sys.stderr)
    measure = throughputs if args.throughput else ratios
    try:
        result = measure(args, names)
    except (RuntimeError, ValueError) as error:  # e.g. too small images for batch norms, or too little memory
        if isinstance(error, UsageError):
            raise
        raise UsageError(f'the networks cannot be measured with these options: {first_line(error)}') from error
    print(json.dumps(result, indent=1))


def check_options(args: argparse.Namespace) -> None:
    for option, excluded in EXCLUDED.items():
        for other in excluded:
            if getattr(args, option) and getattr(args, other) not in (None, False, {}):
                raise UsageError(f'--{other.replace("_", "-")} cannot be combined with --{option}')
    if args.images and not args.runtime:
        raise UsageError('--images requires --runtime')
    checkpoints = [name for name in args.networks if name.endswith('.pth')]
    if args.images and not checkpoints:
        raise UsageError(f'--images requires a training checkpoint (.pth), got only {", ".join(args.networks)}')
    if args.runtime and args.size and len(checkpoints) == len(args.networks):
        raise UsageError('--size requires a network; training checkpoints resize images as in their test')
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


def runtimes(args: argparse.Namespace) -> dict:
    """Returns the timings of each model by runtime."""
    size, count, result = args.size or (224, 224), args.batch_size or 4, {}

    def compare(name: str, prepare_runtime: Callable, images: Sequence | torch.Tensor) -> None:
        result[name] = compare_runtimes(partial(prepare_runtime, images=images), images, args.runtime, args.repeats)
        print(name, result[name], file=sys.stderr, flush=True)

    for name in args.networks:
        if name.endswith('.pth'):
            Predictor(name)  # raises an error for an unusable file before any timing
            images = [np.array(read_rgb(path)) for path in find_images(args.images or [IMAGES])[:count]]
            compare(name, partial(prepare_whole, path=name), images)
            continue
        for plain_name in [name] if ':' in name else find_names([name]):
            model = build_other(plain_name, 'network', False, size).eval().requires_grad_(False)
            compare(plain_name, partial(prepare, model=model), torch.rand(count, 3, *size))
    return result


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

