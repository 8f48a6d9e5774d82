"""Exports a trained model with its preprocessing, or a network by name, to ONNX, and compares the file with PyTorch."""
import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from torch import nn

from .. import get_model
from ..data.checks import check_data
from ..errors import UsageError
from ..export import compare_onnx, export_model, export_onnx
from ..export.compare import EXACT, LOSSY, Comparison, below_limits, inputs_of
from ..export.models import check_opset, check_path
from ..export.parts import Half, check_exportable, split
from ..export.preprocess import Preprocess
from ..export.quantize import to_int8
from ..inference.predictor import config_of
from ..inference.runtimes import EXPORTED_SUFFIX, Checkpoint, Exported, installed_runtimes
from ..inference.sources import find_images
from ..utils.config import apply_options, datasets_of, is_config
from ..utils.images import read_rgb
from ..utils.installation import install_command
from ..utils.runs import find_checkpoint
from ..zoo.checks import check_backbone, check_checkpoint, choose_checkpoint
from .testing import metric_of

CHECKED_IMAGES = 8
CALIBRATION_IMAGES = 32
METRIC_LOSS = 0.01  # largest loss of the metric by int8, as a share
TOLERANCE = 1e-3  # ResT's instance norm amplifies rounding with random weights; other networks differ by less than 1e-5
SIZES = (224, 224), (160, 224), (75, 101)  # height, width; supported by all networks
GENERATED_SIZES = (480, 640), (640, 480), (375, 500), (427, 640)  # height, width; common for photos
SECONDS_PER_LINE = 10  # of progress
NETWORK_OPTIONS = 'task', 'opset', 'size'
MODEL_OPTIONS = 'config', 'preprocessing', 'images', 'accept_loss', 'license', 'fp16', 'int8', 'cfg_options'


def main(args: argparse.Namespace) -> None:
    network, checkpoint, out = read_words(args.words)
    ignored = MODEL_OPTIONS if network else NETWORK_OPTIONS
    if given := [name for name in ignored if getattr(args, name) != args.default_of(name)]:
        models = f'whole models, not for the network {network}' if network else 'networks given by name'
        raise UsageError(f'--{given[0].replace("_", "-")} is for {models}')
    check_packages()
    if network:
        export_network(args, network, checkpoint, out or Path(f'{network}.onnx'))
    elif out is None:
        raise UsageError(f'pass the file to write, e.g. mmvit export {checkpoint} model.onnx')
    else:
        export_checkpoint(args, checkpoint, out)


def check_packages() -> None:
    if missing := [name for name in ('onnx', 'onnxruntime', 'onnxscript') if find_spec(name) is None]:
        raise UsageError(f"mmvit export needs {' and '.join(missing)}: pip install 'mmvit_backbones[export]'")


def read_words(words: list[str]) -> tuple[str | None, str | None, Path | None]:
    """Returns the name of the network, the checkpoint and the file to write; each is None if it is not given."""
    words = list(words)
    out = Path(words.pop()) if words[-1].endswith(EXPORTED_SUFFIX) else None
    if words and is_config(words[0]):
        raise UsageError(f'{words[0]} is a config: pass it as --config {words[0]}')
    is_name = words and '://' not in words[0] and not Path(words[0]).suffix and not Path(words[0]).exists()
    network = words.pop(0) if is_name else None
    checkpoint = words.pop(0) if words else None
    if words:
        raise UsageError(f'the file to write must end with {EXPORTED_SUFFIX}, got {words[0]}')
    return network, checkpoint, out


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Prints a step of the export, and every few seconds how long it has taken, to stderr."""
    begin, ended = time.monotonic(), Event()

    def report() -> None:
        while not ended.wait(SECONDS_PER_LINE):
            print(f'{text}: {time.monotonic() - begin:.0f} s', file=sys.stderr, flush=True)

    print(f'{text} ...', file=sys.stderr, flush=True)
    thread = Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def written_when_complete(path: Path) -> Iterator[Path]:
    """Yields a temporary path, and moves the files written there to ``path`` if there is no error.

    The file and its companions, e.g. FILE.json, replace existing files. After an error or an interrupt, the existing
    files are unchanged.
    """
    with TemporaryDirectory(prefix=f'.{path.name}.', dir=path.parent) as folder:
        yield Path(folder, path.name)
        written = sorted(Path(folder).iterdir(), reverse=True)  # the file itself comes last
        for suffix in ('.data', '.json'):
            Path(f'{path}{suffix}').unlink(missing_ok=True)
        for file in written:
            os.replace(file, path.with_name(file.name))


def export_network(args: argparse.Namespace, network: str, checkpoint: str | None, path: Path) -> None:
    import onnx
    check_path(path)
    try:
        check_opset(args.opset)
        model = get_model(network, args.task, checkpoint, args.pretrained or False)
        with written_when_complete(path) as partial:
            with progress('exporting the network'):
                export_onnx(model, partial, args.opset, args.size)
            onnx.checker.check_model(str(partial))  # by path, because models over 1.5 GB have several files
            sizes = [args.size] if args.size else SIZES
            compared = [compare_network(model, partial, path, sizes, runtime) for runtime in installed_runtimes()]
    except ImportError:
        raise UsageError(f'--task {args.task} needs mmpretrain: {install_command("mmpretrain")}, or use --task '
                         'backbone') from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    print(f'{path}: {size(path):.0f} MiB; differences from PyTorch (height x width): {"; ".join(compared)}')


def compare_network(model: nn.Module, partial: Path, path: Path, sizes: Sequence[tuple[int, int]],
                    runtime: str) -> str:
    """Returns the differences of a file from PyTorch for each size; raises UsageError beyond ``TOLERANCE``."""
    with progress(f'comparing with PyTorch in {runtime}'):
        differences = compare_onnx(model, partial, sizes, runtime)
    tried = ', '.join(f'{height} x {width}: {value:.1e}' for (height, width), value in differences.items())
    if not max(differences.values()) <= TOLERANCE:
        raise UsageError(f'{path} was not written: in {runtime}, it differs from PyTorch by more than {TOLERANCE}: '
                         f'{tried} (height x width)')
    return f'{runtime} {tried}'


def export_checkpoint(args: argparse.Namespace, checkpoint: str | None, path: Path) -> None:
    check_path(path)
    if not args.config and not checkpoint:
        raise UsageError('pass the work dir of a training or a checkpoint, or --config with --pretrained')
    checkpoint = checkpoint and find_checkpoint(checkpoint)
    cfg = config_of(args.config, checkpoint)
    apply_options(cfg, args.cfg_options or {})
    checkpoint = choose_checkpoint(cfg, checkpoint, args.pretrained)
    check_exportable(cfg)
    check_backbone(cfg)
    check_checkpoint(checkpoint)
    uses_test_set = not args.images and has_test_set(cfg, bool(args.config))
    images = images_to_compare(args, cfg, uses_test_set)
    calibration = read(find_images([args.int8])[::2], CALIBRATION_IMAGES) if args.int8 else []
    reference, is_inside = Checkpoint(cfg, checkpoint), args.preprocessing == 'inside'
    parts = split(reference.module, cfg, is_inside)
    with progress(f'predicting {len(images)} images with PyTorch'):
        comparison = compare_with(reference, images, parts.preprocess, args.accept_loss)
    # With --int8, the float32 file is compared first and then quantized in place, so its details already say int8.
    details = dict(reference.details, license=args.license, precision='int8' if args.int8 else 'float32')
    with written_when_complete(path) as partial:
        with progress('exporting the model'):
            export_model(parts, partial, details, images[0])
        check(args, path, partial, comparison, EXACT)
        if args.fp16:
            half = parts._replace(network=Half(parts.network))
            with progress('exporting the model in float16'):
                export_model(half, partial, dict(details, precision='float16'), images[0])
        elif args.int8:
            before = metric_of(cfg, Exported(partial, device='cpu').run) if uses_test_set and is_inside else None
            samples = inputs_of(reference, calibration, is_inside)
            batched = parts.takes == 'images' and is_inside
            with progress('quantizing the model'):
                chosen = to_int8(partial, [image[None] for image in samples] if batched else samples, parts.takes)
            print(chosen)
            if before:
                check_metric(args, path, before, metric_of(cfg, Exported(partial, device='cpu').run))
        if args.fp16 or args.int8:
            check(args, path, partial, comparison, LOSSY)


def has_test_set(cfg: Config, is_needed: bool) -> bool:
    """Returns whether the files of a config's test set exist; raises UsageError if needed files are missing."""
    try:
        check_data(cfg, ['test'], content=False)
    except UsageError as error:
        if is_needed:
            raise UsageError(f'{error}; or pass --images for the comparison') from error
        return False
    return True


def check_metric(args: argparse.Namespace, path: Path, before: dict, after: dict) -> None:
    """Prints the metric of the test set; raises UsageError if int8 loses too much, unless --accept-loss is given."""
    text = f'{before["metric"]} of the test set is {before["value"]:.4g} in float32 and {after["value"]:.4g} in int8'
    print(text, flush=True)
    if not args.accept_loss and after['value'] < (1 - METRIC_LOSS) * before['value']:
        raise UsageError(f'{path} was not written: {text}, a loss of more than {METRIC_LOSS:.0%}; pass --accept-loss '
                         'to write it anyway')


def images_to_compare(args: argparse.Namespace, cfg: Config, uses_test_set: bool) -> list[np.ndarray]:
    """Returns images to compare: from --images, else the config's test set, else --int8, else generated ones."""
    if args.images:
        return read(find_images(args.images), CHECKED_IMAGES)
    if uses_test_set:
        return read(images_of(cfg, 'test'), CHECKED_IMAGES)
    if args.int8:  # every second image is for calibration
        found = find_images([args.int8])
        return read(found[1::2] or found, CHECKED_IMAGES)
    return generated_images()


def images_of(cfg: Config, split: str) -> list[str]:
    """Returns the paths of the first images in the data set of 'train' or 'test'."""
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(dict(datasets_of(cfg, split)[0], pipeline=[]))
    return [dataset.get_data_info(number)['img_path'] for number in range(min(CALIBRATION_IMAGES, len(dataset)))]


def read(paths: list, count: int) -> list[np.ndarray]:
    """Reads at most ``count`` images, evenly spaced in the list."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
    return [np.array(read_rgb(paths[number])) for number in chosen]


def generated_images() -> list[np.ndarray]:
    """Returns images of random blobs in several sizes. Every call returns the same images."""
    print(f'comparing on {CHECKED_IMAGES} generated images; pass --images to use real ones')
    random, images = np.random.default_rng(0), []
    for number in range(CHECKED_IMAGES):
        height, width = GENERATED_SIZES[number % len(GENERATED_SIZES)]
        layers = [cv2.resize(random.normal(scale=cells ** -0.5, size=(cells, cells, 3)), (width, height),
                             interpolation=cv2.INTER_CUBIC) for cells in (2, 4, 8, 16, 32, 64)]
        images.append((128 + 80 * np.sum(layers, axis=0)).clip(0, 255).astype(np.uint8))
    return images


def compare_with(reference: Checkpoint, images: list[np.ndarray], preprocess: Preprocess | None,
                 accept_loss: bool) -> Comparison:
    comparison = Comparison(reference, images, preprocess)
    if comparison.is_empty and not accept_loss:
        raise UsageError(f'the model finds no instances in the {len(images)} images of the comparison; pass --images '
                         'with objects of its classes')
    return comparison


def size(path: Path) -> float:
    return sum(file.stat().st_size for file in (path, Path(f'{path}.data')) if file.exists()) / 2**20


def check(args: argparse.Namespace, path: Path, partial: Path, comparison: Comparison, limits: dict) -> None:
    """Compares a file with PyTorch in each runtime and prints the results.

    Raises:
        UsageError: If a result is beyond its limit, unless --accept-loss is given.
    """
    print(f'{path}: {size(partial):.1f} MiB; compared with PyTorch on {len(comparison.inputs)} images')
    for runtime in installed_runtimes():
        with progress(f'comparing with PyTorch in {runtime}'):
            figures = comparison.figures(partial, limits, runtime)
        print(f'{runtime}: ' + ', '.join(f'{name} {value:.5g} (limit {limits[name]:g})'
                                         for name, value in figures.items()), flush=True)
        if not args.accept_loss and (beyond := below_limits(figures, limits)):
            raise UsageError(f'{path} was not written: in {runtime}, {", ".join(beyond)} are not within the limit; '
                             'pass --accept-loss to write it anyway')
