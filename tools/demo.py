"""Trains a detector, a segmenter and a classifier from random weights on the images in `data/`, and draws predictions.

    python tools/demo.py
    python tools/demo.py --draw-only    # draws the results of an earlier call again

The trainings are three calls of `mmvit train`, which are printed. They run at once, because such small models gain
little from more threads. Results are written to work_dirs/demo, among them predictions.jpg. The demo fails if a
metric is far below what other seeds reached.
"""
import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
COCO, STREETS, FLOWERS = (ROOT / 'data' / name for name in ('coco_mini', 'camvid_mini', 'flowers_mini'))
NETWORK = 'rest_lite'
KINDS, VALIDATION = ('daisy', 'roses', 'sunflowers'), 24  # of the flowers; images of each for validation


class Metric(NamedTuple):
    """A metric that a training must reach.

    Args:
        description (str): What it is, with its unit.
        chance (float): Its value without learning.
        seeds (tuple): Its values with some seeds, measured on a CPU. Others round differently, which is as another
            seed.
    """

    description: str
    chance: float
    seeds: tuple[float, ...]

    @property
    def minimum(self) -> float:
        """Returns the middle between chance and the mean of the seeds, at least three standard deviations below it."""
        return min((self.chance + mean(self.seeds)) / 2, mean(self.seeds) - 3 * stdev(self.seeds))


# A narrow neck, narrow heads and few proposals save two thirds of the detector's time.
NARROW = ['model.train_cfg.rcnn.sampler.num=64', 'model.train_cfg.rpn_proposal.max_per_img=200',
          'model.test_cfg.rpn.max_per_img=200', 'model.neck.out_channels=128', 'model.rpn_head.in_channels=128',
          'model.rpn_head.feat_channels=128', 'model.roi_head.bbox_roi_extractor.out_channels=128',
          'model.roi_head.mask_roi_extractor.out_channels=128', 'model.roi_head.bbox_head.in_channels=128',
          'model.roi_head.mask_head.in_channels=128', 'model.roi_head.bbox_head.fc_out_channels=256',
          'model.roi_head.mask_head.conv_out_channels=64']

# Work dir -> folder of the data, image size, number of epochs, config options, and metrics.
TASKS = {
    'detector': (  # evaluated on the training images, because 12 images are too few to generalize
        ['--coco-folder', 'large', '--size', '96', '--light'], 13, NARROW,
        {'coco/bbox_mAP_50': Metric('AP50 of boxes, training images', 0, (0.56, 0.53, 0.52, 0.60, 0.44, 0.59)),
         'coco/segm_mAP_50': Metric('AP50 of masks, training images', 0, (0.42, 0.20, 0.35, 0.29, 0.32, 0.23))}),
    'segmenter': (
        ['--seg-folder', 'streets', '--size', '96'], 5,
        [],
        {'aAcc': Metric('% of pixels correct, validation images', 30, (60.7, 60.9, 59.9, 60.8, 62.0, 61.7)),
         'mIoU': Metric('% mean IoU, validation images', 3, (16.2, 16.2, 16.4, 16.0, 16.8, 17.0))}),
    'classifier': (
        ['--class-folder', 'flowers', '--size', '64'], 8, [],
        {'accuracy/top1': Metric('% correct, validation images', 33.3, (66.7, 62.5, 72.2, 65.3, 75.0, 75.0))}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='folder for the results')
    parser.add_argument('--draw-only', action='store_true', help='only draw the results of an earlier call')
    parser.add_argument('--seed', type=int, default=0, help='seed of the trainings (default: 0)')
    args = parser.parse_args()
    predict = dict(detector=detections, segmenter=scenes, classifier=most_confident)
    if args.draw_only:
        tiles = {task: predict[task](args.work_dir) for task in TASKS}
    else:
        copy_large_objects(args.work_dir / 'large')
        copy_flowers(args.work_dir / 'flowers')
        tiles = {}
        with ThreadPoolExecutor(len(TASKS)) as pool:
            trainings = {pool.submit(train, args.work_dir, args.seed, task): task for task in TASKS}
            for training in as_completed(trainings):
                training.result()  # stops at an error
                tiles[trainings[training]] = predict[trainings[training]](args.work_dir)  # while others train
    figures = {task: last_figures(args.work_dir / task, metrics) for task, (*_, metrics) in TASKS.items()}
    draw(args.work_dir, figures, tiles)
    check(figures)
    print(f'Results: {args.work_dir / "predictions.jpg"}\nNext, detect objects in your own image:\n'
          f'  mmvit predict IMAGE --checkpoint {shlex.quote(str(args.work_dir / "detector"))}')


def copy_large_objects(folder: Path) -> None:
    """Writes the images with large objects in the layout of --coco-folder, with the training images for validation."""
    text = (COCO / 'annotations/large_train.json').read_text(encoding='utf-8')
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    for split in ('train', 'val'):
        (folder / f'annotations/instances_{split}.json').write_text(text, encoding='utf-8')
        (folder / split).mkdir(exist_ok=True)
        for image in json.loads(text)['images']:
            shutil.copy(COCO / 'train' / image['file_name'], folder / split)


def copy_flowers(folder: Path) -> None:
    """Writes three kinds of flowers in the layout of --class-folder, with more of the images for validation."""
    for name in KINDS:
        paths = [path for split in ('val', 'train') for path in sorted(FLOWERS.glob(f'{split}/{name}/*.jpg'))]
        for split, part in (('val', paths[:VALIDATION]), ('train', paths[VALIDATION:])):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for path in part:
                shutil.copy(path, folder / split / name)


def train(work_dir: Path, seed: int, task: str) -> None:
    """Trains the model of a task, which is evaluated and saved once, at the end, and prints its name on each line."""
    options, epochs, settings, _ = TASKS[task]
    streets = STREETS.relative_to(Path.cwd()) if STREETS.is_relative_to(Path.cwd()) else STREETS
    folders = dict(large=work_dir / 'large', flowers=work_dir / 'flowers', streets=streets)
    options = [str(folders.get(option, option)) for option in options]
    arguments = ['train', NETWORK, *options, '--epochs', str(epochs), '--no-pretrained', '--seed', str(seed),
                 '--work-dir', str(work_dir / task), '--cfg-options', f'train_cfg.val_interval={epochs}',
                 f'default_hooks.checkpoint.interval={epochs}', 'default_hooks.checkpoint.save_best=None',
                 'default_hooks.checkpoint.save_optimizer=False', *settings]
    print(f'\n$ mmvit {shlex.join(arguments)}', flush=True)
    threads = str(max(1, (os.cpu_count() or 1) // len(TASKS)))
    with subprocess.Popen([sys.executable, '-m', 'mmvit', *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={'OMP_NUM_THREADS': threads, **os.environ, 'PYTHONUNBUFFERED': '1'},
                          encoding='utf-8', errors='replace') as process:
        for line in process.stdout:
            print(f'{task}: {line}', end='', flush=True)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)


def last_figures(folder: Path, metrics: dict) -> dict[str, float]:
    """Returns the metrics of the last evaluation in MMEngine's log of the newest run."""
    log = max(folder.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    entries = [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]
    return {key: next(entry[key] for entry in reversed(entries) if key in entry) for key in metrics}


def check(figures: dict[str, dict[str, float]]) -> None:
    missed = []
    for task, (*_, metrics) in TASKS.items():
        for key, metric in metrics.items():
            print(f'{task}: {figures[task][key]:.3g} {metric.description} (minimum {metric.minimum:.3g}, chance level '
                  f'{metric.chance:.3g})')
            if not figures[task][key] >= metric.minimum:
                missed.append(f'{task}: {metric.description}')
    if missed:
        sys.exit(f'demo: the models did not learn enough: {", ".join(missed)}')


# ---------------------------------------------------------------------------------------------------------- drawing

LEARNED = ['000000000165', '000000000471', '000000000294', '000000000459', '000000000073', '000000000529']
SCENES = ['0016E5_07979', '0016E5_08103']


def draw(work_dir: Path, figures: dict[str, dict[str, float]], tiles: dict[str, list]) -> None:
    """Draws the predictions, images with a text each, with the metrics above them."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    ap, street, flower = figures.values()
    rows = {
        f'Detection, training images (12 are too few for other images): AP50 {ap["coco/bbox_mAP_50"]:.2f} of boxes, '
        f'{ap["coco/segm_mAP_50"]:.2f} of masks': tiles['detector'],
        f'Segmentation, validation images: {street["aAcc"]:.0f} % of the pixels correct, mean IoU '
        f'{street["mIoU"]:.0f} %': tiles['segmenter'],
        f'Classification: {flower["accuracy/top1"]:.0f} % of {len(KINDS) * VALIDATION} validation images correct, '
        'chance level 33 %. Most confident predictions:': tiles['classifier']}
    figure = plt.figure(figsize=(15, 9), layout='constrained')
    for row, (title, images) in zip(figure.subfigures(3, 1, height_ratios=[3, 2.6, 2]), rows.items()):
        row.suptitle(title, fontsize=15, fontweight='bold')
        for axes, (image, text) in zip(row.subplots(1, len(images)), images):
            axes.imshow(image.convert('RGB'))
            axes.set_title(text, fontsize=11, color='firebrick' if '(truth: ' in text else 'black')
            axes.axis('off')
    figure.savefig(work_dir / 'predictions.jpg', dpi=80)


def predictor(work_dir: Path, task: str) -> Any:
    from mmvit.inference import Predictor
    return Predictor(work_dir / task, device='cpu')


def detections(work_dir: Path) -> list:
    """Returns training images with the detections whose scores are nearly as high as the highest one in the image."""
    detector, tiles = predictor(work_dir, 'detector'), []
    for path in (COCO / f'train/{name}.jpg' for name in LEARNED):
        result, = detector(path, score_thr=0)
        certain, = detector(path, score_thr=0.9 * float(max(result.scores, default=0)))
        tiles.append((certain.draw(), ''))
    return tiles


def scenes(work_dir: Path) -> list:
    """Returns validation images, each with its prediction and its annotation."""
    from PIL import Image
    segmenter, tiles = predictor(work_dir, 'segmenter'), []
    for name in SCENES:
        image, mask = (Image.open(STREETS / f'{kind}/val/{name}.{suffix}')
                       for kind, suffix in (('images', 'jpg'), ('masks', 'png')))
        prediction = segmenter(STREETS / f'images/val/{name}.jpg')[0].label_image()
        mask.putpalette(prediction.getpalette())
        tiles.extend([(image, 'image'), (prediction, 'prediction'), (mask, 'annotation')])
    return tiles


def most_confident(work_dir: Path, number: int = 3) -> list:
    """Returns the validation images with the highest scores of each class, with their names."""
    from PIL import Image
    classifier, paths = predictor(work_dir, 'classifier'), sorted((work_dir / 'flowers').glob('val/*/*.jpg'))
    tiles, results = [], classifier(paths, batch_size=8)
    scores = [result.scores[result.labels.argsort()] for result in results]
    for index, name in enumerate(classifier.classes):
        for path in sorted(paths, key=lambda path: -scores[paths.index(path)][index])[:number]:
            is_correct = name == path.parent.name
            text = name if is_correct else f'{name}\n(truth: {path.parent.name})'
            tiles.append((Image.open(path).resize((200, 200)), text))
    return tiles


if __name__ == '__main__':
    main()
