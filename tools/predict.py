"""Predicts images, folders, addresses and videos: drawings, and files that programs read.

    python tools/predict.py SOURCE... --checkpoint epoch_12.pth           drawings; classes are also printed
    python tools/predict.py SOURCE... --checkpoint model.onnx --json      also COCO results, label images or a table
    python tools/predict.py film.mp4 --checkpoint epoch_12.pth --video    a drawn video
    tools/dist_predict.sh 8 FOLDER --checkpoint epoch_12.pth              many images by several processes, as Parquet

What cannot be read takes one line of errors, and makes the exit code 1.
"""
import argparse
import csv
import datetime
import hashlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlparse

import cv2
import numpy as np
import torch
from common.command_line import add_pretrained_argument, run_script
from mmengine.dist import get_rank, get_world_size
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import distributed

from mmvit_backbones.errors import UsageError, first_line
from mmvit_backbones.inference import Classification, Predictor, Result, Segmentation
from mmvit_backbones.inference.sources import VIDEOS, find_images, is_address
from mmvit_backbones.utils.images import SUFFIXES


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('sources', nargs='+', metavar='SOURCE',
                        help='images, folders (searched), http(s) addresses, videos, or the number of a camera')
    parser.add_argument('--config', help="config file (default: the config in a training's checkpoint)")
    parser.add_argument('--checkpoint', help="checkpoint file or http(s) address, a classifier's also in its authors' "
                                             'layout; or a file of tools/export.py')
    add_pretrained_argument(parser)
    parser.add_argument('--out-dir', type=Path, default='predictions', help='default: %(default)s')
    parser.add_argument('--json', action='store_true',
                        help='also write results.json (COCO results of a detector), labels/ (of a segmenter, in its '
                             'palette), or results.csv (the five best classes)')
    parser.add_argument('--annotations', metavar='FILE',
                        help="--json: COCO annotations with the images' and categories' ids (default: from 1 on)")
    parser.add_argument('--video', action='store_true', help='draw a video as a video, not an image per frame')
    parser.add_argument('--score-thr', type=float, default=0.3,
                        help='least score of objects (default: %(default)s)')
    parser.add_argument('--batch-size', type=int, default=1, help='default: %(default)s')
    parser.add_argument('--device', help='e.g. cpu or cuda:1 (default: the GPU if there is one)')
    parser.add_argument('--no-accelerate', action='store_true', help='leave the modules of the model as they are')
    parser.add_argument('--trust-code', action='store_true', help='load --format aoti, which is compiled code')
    shards = parser.add_argument_group('many images')
    shards.add_argument('--parquet', action='store_true',
                        help='write results alone, shard by shard; a second call goes on where the first one stopped')
    shards.add_argument('--shard-size', type=int, default=256, help='images in a file (default: %(default)s)')
    shards.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='what started the processes')
    shards.add_argument('--check', action='store_true', help='check model and sources, then stop')
    return parser


def find_sources(sources: list[str]) -> dict[str | int, str]:
    """Returns the images, videos and cameras, each with the name of its outputs: its path below a folder, or its stem.

    Raises:
        UsageError: If a source does not exist, or two have one name.
    """
    names = {}
    for source in sources:
        if source.isdigit() and not Path(source).exists():
            names[int(source)] = f'camera{source}'
            continue
        for found in find_images([source], SUFFIXES + VIDEOS):
            path = Path(urlparse(source).path) if is_address(found) else found
            base = Path(source) if not is_address(found) and Path(source).is_dir() else path.parent
            names[str(found)] = str(path.relative_to(base).with_suffix(''))
    (name, count), = Counter(names.values()).most_common(1)
    if count > 1:
        raise UsageError(f'two images would be drawn into {name}.png; give them different names')
    return names


def read_ids(path: str | None, classes: list[str]) -> tuple[dict[str, int], list[int] | None]:
    """Returns the numbers of images by file name and of the classes, from COCO annotations."""
    if path is None:
        return {}, None
    try:
        content = json.loads(Path(path).read_text())
        categories = {category['name']: category['id'] for category in content['categories']}
        return {image['file_name']: image['id'] for image in content['images']}, [categories[name] for name in classes]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f'--annotations {path} cannot be used: {first_line(error)}') from error


def make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'--out-dir {path} cannot be created: {error}') from error
    return path


class Outputs:
    """Drawings, and with --json results, in a folder."""

    def __init__(self, args: argparse.Namespace, predictor: Predictor, names: dict[str | int, str]) -> None:
        self.args, self.names, self.film, self.video = args, names, None, cv2.VideoWriter()
        self.image_ids, self.category_ids = read_ids(args.annotations, predictor.classes)
        self.entries, self.rows, self.count = [], [], 0

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
            drawing.save(target)
            print(f'{result.source} -> {target} {words}'.rstrip())
        if not self.args.json:
            return
        if isinstance(result, Segmentation):
            result.label_image().save(self.file(f'labels/{name}.png'))
        elif isinstance(result, Classification):
            self.rows.append([result.source, *(item[key] for item in best for key in ('category', 'score'))])
        else:
            self.count += 1
            number = self.image_ids.get(Path(result.source).name) if self.args.annotations else self.count
            if number is None:
                print(f'{result.source} is not in {self.args.annotations}, nor in results.json', file=sys.stderr)
                return
            entries = result.to_coco(number, self.category_ids)
            self.entries += [dict(entry, file_name=result.source) for entry in entries]

    def file(self, name: str) -> Path:
        make_folder((self.args.out_dir / name).parent)
        return self.args.out_dir / name

    def add_frame(self, source: str, path: Path, drawing: Image.Image) -> None:
        if self.film != path:
            self.film, rate = path, cv2.VideoCapture(source).get(cv2.CAP_PROP_FPS) or 25.
            self.video.open(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate, drawing.size)  # closes the one before
            print(f'{source} -> {path}')
        self.video.write(np.array(drawing)[..., ::-1])

    def close(self, task: str) -> None:
        self.video.release()
        if self.args.json and task == 'classification':
            with self.file('results.csv').open('w', newline='') as file:
                best = range(1, Classification.count + 1)
                csv.writer(file).writerows([['file', *(f'{kind}{i}' for i in best for kind in ('class', 'score'))],
                                            *self.rows])
        elif self.args.json and task != 'segmentation':
            self.file('results.json').write_text(json.dumps(self.entries))


def predict_all(args: argparse.Namespace, predictor: Predictor, names: dict[str | int, str]) -> int:
    """Draws all sources; returns how many images failed."""
    outputs, counts = Outputs(args, predictor, names), Counter()
    stream = predictor.stream(names, args.batch_size, args.score_thr)
    try:
        for frame, result in track(stream, 'predicting', len(names), console=Console(stderr=True),
                                   disable=not sys.stderr.isatty()):
            counts[result is not None] += 1
            if result is None:
                print(f'error: {frame.error}', file=sys.stderr)
            else:
                outputs.write(result)
    except KeyboardInterrupt:  # ends a camera
        print('interrupted', file=sys.stderr)
    outputs.close(predictor.task)
    print(f'{counts[True]} predicted, {counts[False]} failed')
    return counts[False]


# ---- many images


def predict_shards(args: argparse.Namespace, predictor: Predictor, sources: list[str]) -> int:
    """Writes Parquet files of ``--shard-size`` images; returns how many images failed.

    A file depends on its images alone, so any number of processes writes the same. It is renamed when it is complete.
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
        parquet.write_table(pa.Table.from_pylist(rows, schema), path.with_suffix('.part'))
        path.with_suffix('.part').replace(path)
    if processes > 1:  # a process that has finished waits for the others, whose shards may take days
        distributed.monitored_barrier(timeout=datetime.timedelta(days=30))
    if rank > 0:
        return 0
    errors = [error for path in shards for error in parquet.read_table(path, columns=['error'])['error'].to_pylist()]
    failed = [error for error in errors if error]
    print(*(f'error: {error}' for error in failed), sep='\n', file=sys.stderr)
    print(f'{len(errors) - len(failed)} predicted, {len(failed)} failed; {len(shards)} files in {args.out_dir}')
    return len(failed)


def check_plan(args: argparse.Namespace, sources: list[str]) -> None:
    """Refuses to go on in a folder with results of other images, another model or another threshold."""
    images = hashlib.sha256('\n'.join(sources).encode()).hexdigest()
    plan = dict(images=images, count=len(sources), shard_size=args.shard_size, score_thr=args.score_thr,
                model=[args.config, args.checkpoint, args.pretrained])
    file = make_folder(args.out_dir) / 'plan.json'
    if not file.exists():
        file.write_text(json.dumps(plan))
    elif json.loads(file.read_text()) != plan:
        raise UsageError(f'--out-dir {args.out_dir} has results of other images, another model or other options')


def main(args: argparse.Namespace) -> None:
    if not args.config and not args.checkpoint:
        raise UsageError('give --config, or the --checkpoint of a training, which contains its config')
    names = find_sources(args.sources)
    if args.parquet:
        check_plan(args, list(map(str, names)))
    if args.launcher != 'none' and not args.check:
        distributed.init_process_group('gloo')
    one_of_several = args.launcher != 'none' and torch.cuda.is_available()
    device = args.device or (f'cuda:{os.environ["LOCAL_RANK"]}' if one_of_several else None)
    predictor = Predictor(args.checkpoint or args.config, args.config, args.checkpoint, args.pretrained, device,
                          not args.no_accelerate, args.trust_code)
    make_folder(args.out_dir)
    if args.check:
        return
    if (predict_shards(args, predictor, list(names)) if args.parquet else predict_all(args, predictor, names)):
        sys.exit(1)


if __name__ == '__main__':
    run_script(get_parser(), main)
