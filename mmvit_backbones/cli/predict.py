"""Runs a model on images, folders, URLs and videos, and writes drawings and machine-readable results.

    mmvit predict SOURCE... --checkpoint epoch_12.pth                # writes drawings; prints a classifier's classes
    mmvit predict SOURCE... --config imagenet_reswin_t --pretrained  # uses the authors' weights
    mmvit predict SOURCE... --checkpoint model.onnx --json           # also writes COCO results, label images or CSV
    mmvit predict film.mp4 --checkpoint epoch_12.pth --video         # writes a video
    mmvit predict FOLDER --checkpoint epoch_12.pth --parquet --processes 8

If an image cannot be read, an error line is printed, the other images are still processed, and the exit code is 1. A
file or folder that does not exist ends the command before the first image.
"""
import argparse
import csv
import datetime
import hashlib
import json
import os
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import cv2
import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import distributed

from ..errors import UsageError, first_line
from ..inference import Classification, Predictor, Result, Segmentation
from ..inference.limits import TIMEOUT
from ..inference.results import SCORE_THR
from ..inference.runtimes import Checkpoint
from ..inference.sources import VIDEOS, find_images, is_address
from ..utils.config import datasets_of
from ..utils.files import open_complete, open_output
from ..utils.images import SUFFIXES
from ..utils.text import cell, printable
from ..zoo.checks import choose_checkpoint
from ..zoo.converters.layout import unwrap
from ..zoo.download import hash_of
from ..zoo.loading import read_state
from .arguments import above_zero, add_pretrained_argument, add_process_arguments, finite, output_folder, positive
from .processes import check_launcher, check_number_of_processes, gpu_of_process


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sources', nargs='+', metavar='SOURCE',
                        help='images, folders (searched recursively), http(s) URLs, videos, or the index of a camera')
    parser.add_argument('--config', help='config file or its name (default: the config saved in the checkpoint)')
    parser.add_argument('--checkpoint', help="checkpoint file or http(s) URL (classifiers: also in the authors' "
                                             'layout), or a file written by mmvit export')
    add_pretrained_argument(parser)
    parser.add_argument('--out-dir', type=lambda path: Path(output_folder(path)), default='predictions',
                        help='folder for the outputs (default: %(default)s)')
    parser.add_argument('--json', action='store_true',
                        help='also write results.json (detectors and pose estimators: COCO results), labels/ '
                             '(segmenters: label images with a palette), or results.csv (classifiers: the five best '
                             'classes)')
    parser.add_argument('--annotations', metavar='FILE',
                        help='COCO annotations that define the ids of images and categories in results.json; each '
                             'image path must end with a file_name (default: ids start at 1)')
    parser.add_argument('--video', action='store_true',
                        help='write one video file per video instead of one image per frame')
    parser.add_argument('--score-thr', type=finite(0, 1), default=SCORE_THR,
                        help='minimum score of objects and drawn keypoints (default: %(default)s)')
    parser.add_argument('--batch-size', type=positive, default=1, help='images per batch (default: %(default)s)')
    parser.add_argument('--device',
                        help='for checkpoints and ONNX files, e.g. cpu or cuda:1 (default: a GPU if there is one)')
    parser.add_argument('--timeout', type=above_zero, default=TIMEOUT,
                        help='time limit per image in seconds; does not interrupt a forward pass of a checkpoint '
                             '(default: %(default)s)')
    shards = parser.add_argument_group('many images')
    shards.add_argument('--parquet', action='store_true',
                        help='write only results, in Parquet files; a second call resumes a stopped run')
    shards.add_argument('--shard-size', type=positive, default=256, help='images per file (default: %(default)s)')
    add_process_arguments(parser, ['none', 'pytorch', 'slurm'])
    return parser


def find_sources(sources: list[str]) -> dict[str | int, str]:
    """Returns the output name of each image, video and camera.

    The name is the path relative to the given folder, or the file name. The suffix is removed,
    unless two names differ only in their suffixes.

    Raises:
        UsageError: If a source is not a file, a valid URL, a camera's index, or a folder with images or videos.
    """
    paths: dict[str | int, Path] = {}
    for source in sources:
        if source.isdecimal() and not os.path.exists(source):
            paths[int(source)] = Path(f'camera{source}')
            continue
        for found in find_images([source], SUFFIXES + VIDEOS):
            # A URL without a path has no file name.
            path = Path(Path(urlparse(source).path).name or 'image') if is_address(found) else Path(found)
            base = Path(source) if not is_address(found) and Path(source).is_dir() else path.parent
            paths[str(found)] = path.relative_to(base)
    stems = Counter(path.with_suffix('') for path in paths.values())
    return {source: str(path if stems[path.with_suffix('')] > 1 else path.with_suffix(''))
            for source, path in paths.items()}


def check_names(names: dict[str | int, str]) -> None:
    """Raises UsageError if two outputs have the same name."""
    (name, count), = Counter(names.values()).most_common(1)
    if count > 1:
        raise UsageError(f'two images have the name {name} and would be drawn to the same file; rename one of them')


class Annotations:
    """Looks up the ids of images and categories in a COCO annotation file.

    Args:
        path (str): Path of the file.
        classes (list[str]): Names of the model's classes.

    Raises:
        UsageError: If the file cannot be read or lacks one of the classes, or if there are no classes.
    """

    def __init__(self, path: str, classes: list[str]) -> None:
        self.path = path
        try:
            content = json.loads(Path(path).read_text())
            self.images = {PurePosixPath(image['file_name']).parts: image['id'] for image in content['images']}
            categories = {category['name']: category['id'] for category in content['categories']}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f'--annotations {path} cannot be read as COCO annotations: {first_line(error)}') from error
        if not classes:
            raise UsageError('--annotations requires class names, but the model has none')
        if missing := [name for name in classes if name not in categories]:
            raise UsageError(f'--annotations {path} has no category {missing[0]!r}, which the model predicts')
        self.category_ids = [categories[name] for name in classes]

    def image_id(self, source: str) -> int | None:
        """Returns the id of the image with the longest ``file_name`` that a path ends with, or None."""
        parts = Path(urlparse(source).path if is_address(source) else source).absolute().parts
        ends = (parts[start:] for start in range(len(parts)))
        return next((self.images[end] for end in ends if end in self.images), None)


def make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'--out-dir {path} cannot be created: {error}') from error
    return path


class Outputs:
    """Writes drawings, and with ``--json`` also results, to a folder."""

    def __init__(self, args: argparse.Namespace, predictor: Predictor, names: dict[str | int, str]) -> None:
        self.args, self.names, self.film, self.video = args, names, None, cv2.VideoWriter()
        self.annotations = Annotations(args.annotations, predictor.classes) if args.annotations else None
        if self.annotations and all(self.annotations.image_id(str(source)) is None for source in names):
            raise UsageError(f'--annotations {args.annotations} contains none of the images; a file_name must be '
                             f'the end of an image path, e.g. of {next(iter(names))}')
        self.entries, self.rows, self.count, self.missing = [], [], 0, 0

    def write(self, result: Result) -> None:
        source, _, frame = (result.source, '', '') if result.source in self.names else result.source.rpartition('#')
        stem = self.names.get(source) or self.names[int(source)]
        name = f'{stem}_{int(frame):06}' if frame else stem
        drawing = result.draw()
        best = result.to_dict()['items'] if isinstance(result, Classification) else []
        if frame and self.args.video:
            self.add_frame(source, self.file(f'{stem}.mp4'), drawing)
        else:
            words = ', '.join(f'{item["category"]} {item["score"]:.1%}' for item in best)
            target = self.file(f'{name}.png')
            self.save(drawing, target)
            print(printable(f'{result.source} -> {target} {words}'.rstrip()))
        if not self.args.json:
            return
        if isinstance(result, Segmentation):
            self.save(result.label_image(), self.file(f'labels/{name}.png'))
        elif isinstance(result, Classification):
            self.rows.append([cell(result.source), *(
                value for item in best for value in (cell(item['category']), item['score']))])
        else:
            self.add_entries(result)

    def add_entries(self, result: Result) -> None:
        self.count += 1
        number, category_ids = self.count, None
        if self.annotations:
            number, category_ids = self.annotations.image_id(result.source), self.annotations.category_ids
            if number is None:
                self.missing += 1
                error = f'{result.source} is not in {self.annotations.path} and was not written to results.json'
                print(f'error: {printable(error)}', file=sys.stderr)
                return
        self.entries += [dict(entry, file_name=result.source) for entry in result.to_coco(number, category_ids)]

    def file(self, name: str) -> Path:
        make_folder((self.args.out_dir / name).parent)
        return self.args.out_dir / name

    def save(self, image: Image.Image, path: Path) -> None:
        with open_output(path) as file:
            image.save(file, 'PNG')

    def add_frame(self, source: str, path: Path, drawing: Image.Image) -> None:
        if self.film != path:
            open_output(path).close()  # raises an error for a link, which OpenCV would follow
            self.film, rate = path, cv2.VideoCapture(source).get(cv2.CAP_PROP_FPS) or 25.
            self.video.open(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, drawing.size)  # closes the previous video
            print(printable(f'{source} -> {path}'))
        self.video.write(np.array(drawing)[..., ::-1])

    def close(self, task: str) -> None:
        self.video.release()
        if self.args.json and task == 'classification':
            with open_output(self.file('results.csv'), 'w', newline='') as file:
                best = range(1, Classification.count + 1)
                csv.writer(file).writerows([['file', *(f'{kind}{i}' for i in best for kind in ('class', 'score'))],
                                            *self.rows])
        elif self.args.json and task != 'segmentation':
            with open_output(self.file('results.json'), 'w') as file:
                json.dump(self.entries, file)


def predict_all(args: argparse.Namespace, predictor: Predictor, names: dict[str | int, str]) -> int:
    """Predicts all sources; returns the number of images that failed or are not in ``--annotations``."""
    outputs, counts = Outputs(args, predictor, names), Counter()
    stream = predictor.stream(names, args.batch_size, args.score_thr)
    try:
        for frame, result in track(stream, 'predicting', len(names), console=Console(stderr=True),
                                   disable=not sys.stderr.isatty()):
            counts[result is not None] += 1
            if result is None:
                print(f'error: {printable(frame.error)}', file=sys.stderr)
            else:
                outputs.write(result)
    except KeyboardInterrupt:  # the only way to stop a camera
        print('interrupted', file=sys.stderr)
    outputs.close(predictor.task)
    print(f'{counts[True]} predicted, {counts[False]} failed')
    return counts[False] + outputs.missing


# ---- many images


def predict_shards(args: argparse.Namespace, predictor: Predictor, sources: list[str | int]) -> int:
    """Writes Parquet files of ``--shard-size`` images or videos each.

    The content of a file depends only on its images, so any number of processes writes the same files. Each file is
    written atomically.

    Returns:
        int: In the first process, the number of images that failed; in the other processes, 0.
    """
    import pyarrow as pa
    from pyarrow import parquet
    mask = pa.struct([('size', pa.list_(pa.int32())), ('counts', pa.string())])
    item = pa.struct([('category', pa.string()), ('label', pa.int32()), ('score', pa.float64()),
                      ('box', pa.list_(pa.float64())), ('mask', mask)])
    schema = pa.schema([('source', pa.string()), ('error', pa.string()), ('height', pa.int32()), ('width', pa.int32()),
                        ('items', pa.list_(item)), ('points', pa.list_(pa.list_(pa.float64())))])
    shards = {args.out_dir / f'{start // args.shard_size:06}.parquet': sources[start:start + args.shard_size]
              for start in range(0, len(sources), args.shard_size)}
    rank, processes = get_rank(), get_world_size()
    mine = [path for path in list(shards)[rank::processes] if not path.exists()]
    for path in track(mine, 'shards', console=Console(stderr=True), disable=not sys.stderr.isatty() or rank > 0):
        rows = [dict(source=frame.name, error=frame.error) if result is None else result.to_dict()
                for frame, result in predictor.stream(shards[path], args.batch_size, args.score_thr)]
        with open_complete(path) as file:
            parquet.write_table(pa.Table.from_pylist(rows, schema), file)
    if processes > 1:  # other processes may need days for their shards
        distributed.monitored_barrier(timeout=datetime.timedelta(days=30))
    if rank > 0:
        return 0
    errors = [error for path in shards for error in parquet.read_table(path, columns=['error'])['error'].to_pylist()]
    failed = [error for error in errors if error]
    for error in failed:
        print(f'error: {printable(error)}', file=sys.stderr)
    print(f'{len(errors) - len(failed)} predicted, {len(failed)} failed; {len(shards)} files in {args.out_dir}')
    return len(failed)


def check_plan(args: argparse.Namespace, sources: list[str], predictor: Predictor) -> None:
    """Checks that existing results in the output folder are from the same image paths, model and ``--score-thr``.

    Without ``--check``, the first process saves a description of the run as ``plan.json`` in the folder.

    Raises:
        UsageError: If the results are from other image paths, another model or another ``--score-thr`` or
            ``--shard-size``, or have no ``plan.json``.
    """
    images = hashlib.sha256('\n'.join(sources).encode()).hexdigest()
    plan = dict(images=images, count=len(sources), shard_size=args.shard_size, score_thr=args.score_thr,
                model=hash_of_model(args, predictor))
    file = args.out_dir / 'plan.json'
    is_same = file.exists() and file.read_text() == json.dumps(plan)
    if not is_same and any(args.out_dir.glob('*.parquet')):
        raise UsageError(f'--out-dir {args.out_dir} contains results from other images, another model or other '
                         'options; use another folder')
    if not args.check and get_rank() == 0:
        make_folder(args.out_dir)
        with open_complete(file, 'w') as opened:
            json.dump(plan, opened)


def hash_of_model(args: argparse.Namespace, predictor: Predictor) -> str:
    """Returns the SHA-256 of an exported file, or of a checkpoint's model config, pipeline, classes and weights."""
    model = predictor.model
    if not isinstance(model, Checkpoint):
        return hash_of(Path(args.checkpoint))
    settings = [model.cfg.model, datasets_of(model.cfg, 'test')[0]['pipeline'], predictor.classes]
    digest = hashlib.sha256(repr(settings).encode())
    weights = unwrap(read_state(choose_checkpoint(model.cfg, args.checkpoint, args.pretrained)))
    for name, weight in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(weight.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_options(args: argparse.Namespace) -> None:
    if not args.config and not args.checkpoint:
        raise UsageError('pass --checkpoint, or --config with --pretrained')
    if args.annotations and not args.json:
        raise UsageError('--annotations requires --json')
    if args.parquet and (args.json or args.video):
        raise UsageError('--parquet cannot be combined with --json or --video')
    if not args.parquet and (args.processes or args.launcher != 'none'):
        raise UsageError('--processes and --launcher require --parquet')
    if args.parquet and not find_spec('pyarrow'):
        raise UsageError("--parquet needs pyarrow: pip install 'mmvit_backbones[parquet]'")


def main(args: argparse.Namespace) -> None:
    check_options(args)
    names = find_sources(args.sources)
    if not args.parquet:
        check_names(names)
    num_gpus = torch.cuda.device_count()
    check_number_of_processes(num_gpus)
    if args.launcher != 'none' and not args.check:
        check_launcher(args.launcher)
        distributed.init_process_group('gloo')
    if args.launcher != 'none' and num_gpus:
        torch.cuda.set_device(gpu_of_process(num_gpus))
    source, config = (args.checkpoint, args.config) if args.checkpoint else (args.config, None)
    predictor = Predictor(source, config, pretrained=args.pretrained, device=args.device,
                          timeout=args.timeout)
    if args.annotations and predictor.task not in ('detection', 'pose'):
        raise UsageError(f'--annotations requires a model for detection or pose, got one for {predictor.task}')
    if args.parquet:
        check_plan(args, list(map(str, names)), predictor)
    if args.check:
        return
    make_folder(args.out_dir)
    if (predict_shards(args, predictor, list(names)) if args.parquet else predict_all(args, predictor, names)):
        sys.exit(1)
