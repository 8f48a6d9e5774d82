"""Runs a model on images, folders, URLs and videos, and writes drawings and machine-readable results."""
import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlparse

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from ..errors import UsageError
from ..inference import Classification, Predictor, Result, Segmentation
from ..inference.sources import VIDEOS, find_images, is_url
from ..utils.images import SUFFIXES


def find_sources(sources: list[str]) -> dict[str, str]:
    """Returns the output name of each image and video.

    The name is the path relative to the given folder, or the file name. The suffix is removed,
    unless two names differ only in their suffixes.

    Raises:
        UsageError: If a source is not a file, a valid URL, or a folder with images or videos.
    """
    paths: dict[str, Path] = {}
    for source in sources:
        for found in find_images([source], SUFFIXES + VIDEOS):
            # A URL without a path has no file name.
            path = Path(Path(urlparse(source).path).name or 'image') if is_url(found) else Path(found)
            base = Path(source) if not is_url(found) and Path(source).is_dir() else path.parent
            paths[str(found)] = path.relative_to(base)
    stems = Counter(path.with_suffix('') for path in paths.values())
    return {source: str(path if stems[path.with_suffix('')] > 1 else path.with_suffix(''))
            for source, path in paths.items()}


def check_names(names: dict[str, str]) -> None:
    """Raises UsageError if two outputs have the same name."""
    (name, count), = Counter(names.values()).most_common(1)
    if count > 1:
        raise UsageError(f'two images have the name {name} and would be drawn to the same file; rename one of them')


def make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f'--out-dir {path} cannot be created: {error}') from error
    return path


class Outputs:
    """Writes drawings, and with ``--json`` also results, to a folder."""

    def __init__(self, args: argparse.Namespace, names: dict[str, str]) -> None:
        self.args, self.names, self.film, self.video = args, names, None, cv2.VideoWriter()
        self.entries, self.rows, self.count = [], [], 0

    def write(self, result: Result) -> None:
        source, _, frame = (result.source, '', '') if result.source in self.names else result.source.rpartition('#')
        stem = self.names[source]
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
            self.rows.append([result.source, *(value for item in best for value in (item['category'], item['score']))])
        else:
            self.count += 1
            self.entries += [dict(entry, file_name=result.source) for entry in result.to_coco(self.count)]

    def file(self, name: str) -> Path:
        make_folder((self.args.out_dir / name).parent)
        return self.args.out_dir / name

    def add_frame(self, source: str, path: Path, drawing: Image.Image) -> None:
        if self.film != path:
            self.film, rate = path, cv2.VideoCapture(source).get(cv2.CAP_PROP_FPS) or 25.
            self.video.open(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, drawing.size)  # closes the previous video
            print(f'{source} -> {path}')
        self.video.write(np.array(drawing)[..., ::-1])

    def close(self, task: str) -> None:
        self.video.release()
        if self.args.json and task == 'classification':
            with open(self.file('results.csv'), 'w', newline='') as file:
                best = range(1, Classification.count + 1)
                csv.writer(file).writerows([['file', *(f'{kind}{i}' for i in best for kind in ('class', 'score'))],
                                            *self.rows])
        elif self.args.json and task != 'segmentation':
            with open(self.file('results.json'), 'w') as file:
                json.dump(self.entries, file)


def predict_all(args: argparse.Namespace, predictor: Predictor, names: dict[str, str]) -> int:
    """Predicts all sources; returns the number of images that failed."""
    outputs, counts = Outputs(args, names), Counter()
    stream = predictor.stream(names, args.batch_size, args.score_thr)
    try:
        for frame, result in track(stream, 'predicting', len(names), console=Console(stderr=True),
                                   disable=not sys.stderr.isatty()):
            counts[result is not None] += 1
            if result is None:
                print(f'error: {frame.error}', file=sys.stderr)
            else:
                outputs.write(result)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
    outputs.close(predictor.task)
    print(f'{counts[True]} predicted, {counts[False]} failed')
    return counts[False]


def main(args: argparse.Namespace) -> None:
    if not args.config and not args.checkpoint:
        raise UsageError('pass --checkpoint, or --config with --pretrained')
    names = find_sources(args.sources)
    check_names(names)
    source, config = (args.checkpoint, args.config) if args.checkpoint else (args.config, None)
    predictor = Predictor(source, config, pretrained=args.pretrained, device=args.device, size=args.size,
                          runtime=args.runtime, precision=args.precision)
    make_folder(args.out_dir)
    if predict_all(args, predictor, names):
        sys.exit(1)
