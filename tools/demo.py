"""Trains a detector, a segmenter and a classifier from random weights on the images in `data/`, and draws predictions.

    python tools/demo.py
    python tools/demo.py --draw-only    # draws the results of an earlier call again

The trainings are three calls of `mmvit train`, which are printed. Results are written to work_dirs/demo, among them
predictions.jpg. The demo fails if a metric is below its minimum, which is above chance level.
"""
import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COCO, STREETS, FLOWERS = (ROOT / 'data' / name for name in ('coco_mini', 'camvid_mini', 'flowers_mini'))
NETWORK = 'rest_lite'
# Work dir -> options of the training, and the metrics that it must reach: key -> (minimum, chance level, description).
TASKS = {
    'detector': (  # evaluated on the training images, because 12 images are too few to generalize
        ['--coco-folder', 'large', '--size', '96', '--epochs', '14'],
        {'coco/bbox_mAP_50': (0.4, 0, 'AP50 of boxes, training images'),
         'coco/segm_mAP_50': (0.3, 0, 'AP50 of masks, training images')}),
    'segmenter': (
        ['--seg-folder', os.path.relpath(STREETS), '--size', '96', '--epochs', '8'],
        {'aAcc': (55, 30, '% of pixels correct, validation images'),
         'mIoU': (14, 3, '% mean IoU, validation images')}),
    'classifier': (
        ['--class-folder', os.path.relpath(FLOWERS), '--size', '64', '--epochs', '6'],
        {'accuracy/top1': (36, 20, '% correct, validation images')}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='folder for the results')
    parser.add_argument('--draw-only', action='store_true', help='only draw the results of an earlier call')
    args = parser.parse_args()
    if not args.draw_only:
        copy_large_objects(args.work_dir / 'large')
        for task, (options, _) in TASKS.items():
            train(args.work_dir, task, options)
    figures = {task: last_figures(args.work_dir / task, metrics) for task, (_, metrics) in TASKS.items()}
    draw(args.work_dir, figures)
    check(figures)
    print(f'Results: {args.work_dir}/predictions.jpg\nNext, detect objects in your own image:\n'
          f'  mmvit predict IMAGE --checkpoint {checkpoint_of(args.work_dir / "detector")}')


def copy_large_objects(folder: Path) -> None:
    """Writes the images with large objects in the layout of --coco-folder, with the training images for validation."""
    text = (COCO / 'annotations/large_train.json').read_text(encoding='utf-8')
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    for split in ('train', 'val'):
        (folder / f'annotations/instances_{split}.json').write_text(text, encoding='utf-8')
        (folder / split).mkdir(exist_ok=True)
        for image in json.loads(text)['images']:
            shutil.copy(COCO / 'train' / image['file_name'], folder / split)


def train(work_dir: Path, task: str, options: list[str]) -> None:
    options = [str(work_dir / 'large') if option == 'large' else option for option in options]
    arguments = ['train', NETWORK, *options, '--no-pretrained', '--seed', '0', '--work-dir', str(work_dir / task)]
    print(f'\n$ mmvit {shlex.join(arguments)}', flush=True)
    subprocess.run([sys.executable, '-m', 'mmvit', *arguments], check=True)


def last_figures(folder: Path, metrics: dict) -> dict[str, float]:
    """Returns the metrics of the last evaluation in MMEngine's log of the newest run."""
    log = max(folder.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    entries = [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]
    return {key: next(entry[key] for entry in reversed(entries) if key in entry) for key in metrics}


def check(figures: dict[str, dict[str, float]]) -> None:
    missed = []
    for task, (_, metrics) in TASKS.items():
        for key, (minimum, chance, description) in metrics.items():
            print(f'{task}: {figures[task][key]:.4g} {description} (minimum {minimum}, chance level {chance})')
            if not figures[task][key] >= minimum:
                missed.append(f'{task}: {description}')
    if missed:
        sys.exit(f'demo: the models did not learn enough: {", ".join(missed)}')


def checkpoint_of(folder: Path) -> str:
    return (folder / 'last_checkpoint').read_text(encoding='utf-8').strip()


# ---------------------------------------------------------------------------------------------------------- drawing

LEARNED = ['000000000072', '000000000471', '000000000599', '000000000459', '000000000450', '000000000529']
SCENES = ['0016E5_07979', '0016E5_08103']
SCORE = 0.4  # minimum score of drawn objects


def draw(work_dir: Path, figures: dict[str, dict[str, float]]) -> None:
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    from PIL import Image

    from mmvit.inference import Predictor

    detector, segmenter, classifier = (Predictor(checkpoint_of(work_dir / task), device='cpu') for task in TASKS)
    ap, street, flower = figures.values()
    learned = [COCO / f'train/{name}.jpg' for name in LEARNED]
    rows = {
        f'Detection, training images (12 are too few for other images): AP50 {ap["coco/bbox_mAP_50"]:.2f} of boxes, '
        f'{ap["coco/segm_mAP_50"]:.2f} of masks':
            [(result.draw(), '') for result in detector(learned, score_thr=SCORE)],
        f'Segmentation, validation images: {street["aAcc"]:.0f} % of the pixels correct, mean IoU '
        f'{street["mIoU"]:.0f} %': [],
        f'Classification: {flower["accuracy/top1"]:.0f} % of 60 validation images correct, chance level 20 %. Most '
        'confident predictions:': most_confident(classifier, sorted(FLOWERS.glob('val/*/*.jpg')))}
    for name in SCENES:
        image, mask = (Image.open(STREETS / f'{kind}/val/{name}.{suffix}')
                       for kind, suffix in (('images', 'jpg'), ('masks', 'png')))
        prediction = segmenter(STREETS / f'images/val/{name}.jpg')[0].label_image()
        mask.putpalette(prediction.getpalette())
        list(rows.values())[1].extend([(image, 'image'), (prediction, 'prediction'), (mask, 'annotation')])
    figure = plt.figure(figsize=(15, 9), layout='constrained')
    for row, (title, tiles) in zip(figure.subfigures(3, 1, height_ratios=[3, 2.6, 2]), rows.items()):
        row.suptitle(title, fontsize=15, fontweight='bold')
        for axes, (image, text) in zip(row.subplots(1, len(tiles)), tiles):
            axes.imshow(image.convert('RGB'))
            axes.set_title(text, fontsize=11, color='firebrick' if '(truth: ' in text else 'black')
            axes.axis('off')
    figure.savefig(work_dir / 'predictions.jpg', dpi=80)


def most_confident(classifier, paths: list[Path], number: int = 2) -> list:
    """Returns the images with the highest scores of each class, with their names."""
    from PIL import Image
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
