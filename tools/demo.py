"""Trains a detector, a segmenter and a classifier from random weights, and draws their predictions.

All three have a ReSwin-T backbone and use the data sets in `data/`. The demo writes predictions.png,
learning_curves.png, and for each task a log and a folder with the checkpoint into work_dirs/demo. It fails if a metric
is below its minimum, which is above chance level.

The frameworks are imported only once, because each model is trained in a fork of this process.
"""
import argparse
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
COCO = ROOT / 'data/coco_mini'
INTRODUCTION = """\
Three networks with a ReSwin-T backbone are trained from random weights on a few images: Mask R-CNN detects people,
vehicles, animals and food, UperNet segments street scenes, and a classifier distinguishes five kinds of flowers.
This takes ten minutes of CPU time, or five minutes on two free cores. The remaining time is shown during training."""
NEXT_STEPS = """\
Next, try the tutorials in docs/tutorials, or detect objects in your own image:
  .venv/bin/python tools/predict.py IMAGE --config {config} --checkpoint {checkpoint}"""
SECONDS_BETWEEN_LINES = 20  # if the output is not a terminal


@dataclass(frozen=True, eq=False)
class Task:
    """A training, and the metrics that it must reach, as {key in the log: (minimum, chance level, description)}."""
    name: str
    config: str
    figures: dict[str, tuple[float, float, str]]
    options: tuple[str, ...] = ()  # for --cfg-options
    arguments: tuple[str, ...] = ()  # for mmvit train


TASKS = [
    # Evaluated on the training images, because 12 images are too few to generalize.
    Task('detection', 'configs/demo/mask_rcnn_reswin_t.py',
         {'coco/bbox_mAP_50': (0.6, 0, 'AP50 of boxes, training images'),
          'coco/segm_mAP_50': (0.4, 0, 'AP50 of masks, training images')},
         ('val_dataloader.dataset.ann_file=annotations/large_train.json',
          'val_dataloader.dataset.data_prefix.img=train/',
          'val_evaluator.ann_file=data/coco_mini/annotations/large_train.json')),
    Task('segmentation', 'configs/demo/upernet_reswin_t_camvid.py',
         {'aAcc': (55, 30, '% of pixels correct, validation images'),
          'mIoU': (16, 3, '% mean IoU, validation images')}),
    Task('classification', 'configs/demo/imagenet_reswin_t.py',
         {'accuracy/top1': (33, 20, '% correct, validation images')}, arguments=('--epochs', '7')),
]


class DemoError(Exception):
    """An error shown to the user."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='folder for the results')
    work_dir = parser.parse_args().work_dir.resolve()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback if Ctrl-C is pressed during imports
    print(INTRODUCTION, flush=True)
    # Must be set before torch is imported. PASSIVE lets waiting threads release their core.
    os.environ.update(OMP_NUM_THREADS='1', OMP_WAIT_POLICY=os.environ.get('OMP_WAIT_POLICY', 'PASSIVE'))
    work_dir.mkdir(parents=True, exist_ok=True)
    try:
        with quiet(work_dir):
            import_frameworks()
        train(work_dir)
        figures = read_figures(work_dir)
        with quiet(work_dir):
            draw(work_dir, figures)
        check_figures(work_dir, figures)
    except DemoError as error:
        sys.exit(f'demo: {error}')
    print(f'Results: {work_dir}/predictions.png and {work_dir}/learning_curves.png')
    config = TASKS[0].config
    print(NEXT_STEPS.format(config=config, checkpoint=os.path.relpath(last_checkpoint(work_dir / 'detection'))))


@contextmanager
def quiet(work_dir):
    """Redirects the output of the frameworks into a file."""
    with (work_dir / 'frameworks.log').open('w') as log, redirect_stdout(log), redirect_stderr(log):
        yield


def import_frameworks():
    for name in ('mmdet', 'mmseg', 'mmpretrain'):
        import_module(f'{name}.datasets')
        import_module(f'{name}.models')
    import_module('mmvit_backbones.cli.train')


@contextmanager
def collected_signals():
    """Yields a list that collects signals, which would otherwise end this process.

    The handlers don't raise exceptions, because Python ignores exceptions in callbacks, such as those after a fork.
    """
    received = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, lambda number, _: received.append(number)) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, handlers):
            signal.signal(number, handler)


def train(work_dir):
    """Trains all tasks in parallel, each in a fork of this process with its own log."""
    processes = {}
    with collected_signals() as signals:
        try:
            for task in TASKS:
                log_file(work_dir, task).write_text('')
                processes[task] = multiprocessing.get_context('fork').Process(target=train_task, args=(task, work_dir))
                processes[task].start()
            watch(work_dir, processes, signals)
        finally:
            children = psutil.Process().children()
            for child in children:  # an unfinished run has nothing worth saving
                child.kill()
            psutil.wait_procs(children)


def train_task(task, work_dir):
    """Runs `mmvit train` in a fork, with the output in the log of the task."""
    import torch

    from mmvit_backbones.cli import command

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches the demo, which kills this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    log = os.open(log_file(work_dir, task), os.O_WRONLY | os.O_APPEND)
    for output in (1, 2):
        os.dup2(log, output)
    os.chdir(ROOT)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // len(TASKS)))
    arguments = [task.config, '--work-dir', str(work_dir / task.name), *task.arguments]
    command.run('train', 'train', [*arguments, *(('--cfg-options', *task.options) if task.options else ())])


def log_file(work_dir, task):
    return work_dir / f'{task.name}.log'


def watch(work_dir, processes, signals=()):
    """Prints the progress until all processes end; raises DemoError if one fails or a signal was received."""
    start = printed = time.monotonic()
    running = True
    while running:
        time.sleep(0.5)
        if signals:
            raise DemoError('interrupted')
        codes = {task: process.exitcode for task, process in processes.items()}
        for task, code in codes.items():
            if code:
                raise DemoError(f'{task.name} failed with exit code {code}; last lines of {log_file(work_dir, task)}:\n'
                                + '\n'.join(log_file(work_dir, task).read_text().splitlines()[-5:]))
        running = None in codes.values()
        now = time.monotonic()
        if sys.stdout.isatty():
            print(f'\r\033[K{progress(work_dir, codes, now - start)}', end='' if running else '\n', flush=True)
        elif now - printed > SECONDS_BETWEEN_LINES or not running:
            printed = now
            print(progress(work_dir, codes, now - start), flush=True)


def progress(work_dir, codes, seconds):
    parts, left = [], []
    for task, code in codes.items():
        # The format is that of MMEngine's logger.
        lines = re.findall(r'\beta: (\d+):(\d+):(\d+) .*\bloss: ([\d.]+)', log_file(work_dir, task).read_text())
        if code is None:
            left.append(sum(int(x) * unit for x, unit in zip(lines[-1], (3600, 60, 1))) if lines else None)
        loss = f'loss {float(lines[-1][3]):.2f}' if lines else 'starts'
        parts.append(f'{task.name} {loss if code is None else "done"}')
    estimate = 'starting' if None in left else f'about {max(left, default=0) / 60:.0f} min left'
    if left and None not in left and max(left) < 60:
        estimate = f'about {max(left)} s left'
    return f'[{seconds:4.0f} s] {", ".join(parts)}; {estimate if left else "drawing"}'


def scalars(folder):
    """Returns the entries of MMEngine's log of the newest run."""
    log = max(folder.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    return [json.loads(line) for line in log.read_text().splitlines()]


def read_figures(work_dir):
    entries = {task: scalars(work_dir / task.name) for task in TASKS}
    return {task: {key: next(entry[key] for entry in reversed(entries[task]) if key in entry) for key in task.figures}
            for task in TASKS}


def check_figures(work_dir, figures):
    missed = []
    for task, reached in figures.items():
        for key, (minimum, chance, description) in task.figures.items():
            print(f'{task.name}: {reached[key]:.4g} {description} (minimum {minimum}, chance level {chance})')
            if not reached[key] >= minimum:
                missed.append(f'{task.name} reached {reached[key]:.4g} {description}, but the minimum is {minimum}; '
                              f'see {log_file(work_dir, task)}')
    if missed:
        raise DemoError('the models did not learn enough: ' + '; '.join(missed))


def last_checkpoint(folder):
    return Path((folder / 'last_checkpoint').read_text().strip())


# ---------------------------------------------------------------------------------------------------------- drawing

LEARNED = ['000000000072', '000000000471', '000000000599', '000000000459', '000000000450', '000000000529']
UNSEEN = ['000000000285', '000000000785', '000000009483', '000000006012', '000000008021', '000000000885']
STREETS = ['0016E5_07979', '0016E5_08103']
FLOWERS_PER_CLASS = 2


def draw(work_dir, figures):
    import matplotlib
    matplotlib.use('Agg')
    import torch
    from matplotlib import pyplot as plt

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    draw_curves(work_dir, plt)
    detection, segmentation, classification = ({key: f'{value:.2f}' if value <= 1 else f'{value:.0f} %'
                                                for key, value in figures[task].items()} for task in TASKS)
    figure = plt.figure(figsize=(15, 12), layout='constrained')
    rows = figure.subfigures(4, 1, height_ratios=[3, 3, 2.6, 2])
    detector, segmenter, classifier = (load(work_dir, task) for task in TASKS)
    for row, split, names, title in [
            (rows[0], 'train', LEARNED,
             f'Detection, training images: AP50 {detection["coco/bbox_mAP_50"]} of boxes, '
             f'{detection["coco/segm_mAP_50"]} of masks'),
            (rows[1], 'val', UNSEEN, 'Detection, validation images (12 training images are too few to generalize)')]:
        for axes, name in zip(tiles(row, title), names):
            draw_objects(axes, detector, COCO / split / f'{name}.jpg')
    title = (f'Segmentation, validation images: {segmentation["aAcc"]} of the pixels correct, '
             f'mean IoU {segmentation["mIoU"]}')
    grid = tiles(rows[2], title)
    for index, name in enumerate(STREETS):
        draw_street(grid[3 * index:], segmenter, name)
    rows[2].legend(handles=legend(segmenter, plt), loc='outside lower center', ncols=11, frameon=False, fontsize=11)
    title = (f'Classification: {classification["accuracy/top1"]} of 60 validation images correct, chance level 20 %. '
             'Most confident predictions of each class:')
    draw_flowers(tiles(rows[3], title, 5 * FLOWERS_PER_CLASS), classifier)
    figure.savefig(work_dir / 'predictions.png', dpi=80)


def draw_curves(work_dir, plt):
    figure, grid = plt.subplots(1, len(TASKS), figsize=(5 * len(TASKS), 3.5), layout='constrained')
    for axes, task in zip(grid, TASKS):
        losses = [(entry['iter'], entry['loss']) for entry in scalars(work_dir / task.name) if 'loss' in entry]
        axes.plot(*zip(*losses))
        axes.set(title=task.name, xlabel='iteration', ylabel='training loss', ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(work_dir / 'learning_curves.png', dpi=80)


def load(work_dir, task):
    from mmvit_backbones.inference import Predictor

    os.chdir(ROOT)  # paths in the configs are relative to ROOT
    return Predictor(task.config, checkpoint=str(last_checkpoint(work_dir / task.name)), device='cpu')


def tiles(row, title, columns=6):
    row.suptitle(title, fontsize=15, fontweight='bold')
    grid = row.subplots(1, columns)
    for axes in grid:
        axes.axis('off')
    return grid


def draw_objects(axes, detector, path, min_score=0.7):
    import numpy as np

    objects, = detector(path, score_thr=min_score)
    overlay = objects.image.astype(float)
    colors = [np.array(objects.color(label)) for label in objects.labels]
    for mask, color in zip(objects.masks, colors):
        overlay[mask] = 0.5 * overlay[mask] + 0.5 * color
    axes.imshow(overlay.astype('uint8'))
    for (left, top, right, bottom), score, label, color in zip(
            objects.boxes.tolist(), objects.scores.tolist(), objects.labels, colors):
        axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=color / 255, linewidth=2)
        axes.text(left + 6, max(top, 0) + 6, f'{objects.name(label)} {score:.0%}', color='white', fontsize=11,
                  va='top', clip_on=True, bbox=dict(facecolor=color / 255, linewidth=0, pad=1.5))


def draw_street(grid, segmenter, name):
    import numpy as np

    path = ROOT / f'data/camvid_mini/images/val/{name}.jpg'
    palette = np.array([*segmenter.palette, *[[0, 0, 0]] * 245], 'uint8')  # 255 is unlabeled
    prediction = segmenter(path)[0].segmentation
    annotation = np.asarray(open_image(ROOT / f'data/camvid_mini/masks/val/{name}.png', 'L'))
    for axes, image, title in zip(grid, (open_image(path), palette[prediction], palette[annotation]),
                                  ('image', 'prediction', 'annotation')):
        axes.imshow(image)
        axes.set_title(title)


def legend(segmenter, plt):
    return [plt.Rectangle((0, 0), 1, 1, color=[value / 255 for value in color], label=name)
            for name, color in zip(segmenter.classes, segmenter.palette)]


def draw_flowers(grid, classifier):
    paths = sorted((ROOT / 'data/flowers_mini/val').glob('*/*.jpg'))
    scores = [result.scores[result.labels.argsort()] for result in classifier(paths, batch_size=8)]
    most_confident = [(index, path) for index in range(len(scores[0]))
                      for _, path in sorted(zip([score[index] for score in scores], paths),
                                            reverse=True)[:FLOWERS_PER_CLASS]]
    for axes, (index, path) in zip(grid, most_confident):
        name = classifier.classes[index]
        axes.imshow(open_image(path).resize((200, 200)))
        is_correct = name == path.parent.name
        axes.set_title(name if is_correct else f'{name}\n(annotated: {path.parent.name})', fontsize=11,
                       color='green' if is_correct else 'firebrick')


def open_image(path, mode='RGB'):
    from PIL import Image

    return Image.open(path).convert(mode)


if __name__ == '__main__':
    main()
