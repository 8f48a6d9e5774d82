"""Train Mask R-CNN with a ReSwin-T backbone on real images, test it, and draw what it learned.

Everything comes from `data/`; the weights start at random. Writes into work_dirs/demo: loss.png, predictions.png.
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
from PIL import Image

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/demo/mask_rcnn_reswin_t.py'
WITHOUT_VALIDATION = 'val_dataloader=None', 'val_evaluator=None', 'val_cfg=None'  # the test comes right after
WHAT_TO_EXPECT = """\
Mask R-CNN with a ReSwin-T backbone learns from {train} images and is tested on {val} others.
It starts from random weights and sees few small images for a few minutes, so expect the loss to fall by more than
half, and an AP near zero: published detectors start from ImageNet weights and see 118,000 images twelve times.
This shows that all works."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'), help='where the results go')
    work_dir = parser.parse_args().work_dir.resolve()
    start = time.time()
    print(WHAT_TO_EXPECT.format(train=count_images('train'), val=count_images('val')), flush=True)

    say(start, '1/3 training: "eta" is the time left')
    run('train.py', CONFIG, '--work-dir', work_dir, '--cfg-options', *WITHOUT_VALIDATION)
    say(start, '2/3 testing on the other images')
    checkpoint = Path((work_dir / 'last_checkpoint').read_text())
    drawings = work_dir / 'drawings'
    run('test.py', CONFIG, checkpoint, '--work-dir', work_dir / 'test', '--show-dir', drawings)
    say(start, '3/3 drawing')
    losses = read_losses(work_dir)
    print_losses(losses)
    plot_losses(losses, work_dir / 'loss.png')
    draw_contact_sheet(drawings, work_dir / 'predictions.png')
    say(start, f'done: {work_dir}/loss.png and predictions.png (ground truth left, prediction right)')


def count_images(split):
    return len(list((ROOT / 'data/coco_mini' / split).glob('*.jpg')))


def say(start, text):
    print(f'\n[{time.time() - start:4.0f} s] {text}', flush=True)


def run(script, *arguments):
    command = [sys.executable, str(ROOT / 'tools' / script), *map(str, arguments)]
    code = subprocess.run(command, cwd=ROOT).returncode
    if code:
        sys.exit(f'tools/{script} ended with exit code {code}')


def read_losses(work_dir):
    """Iteration and loss of the newest run, from the log that mmengine writes."""
    log = max(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    entries = map(json.loads, log.read_text().splitlines())
    return [(entry['iter'], entry['loss']) for entry in entries if 'loss' in entry]


def print_losses(losses):
    highest = max(loss for _, loss in losses)
    for iteration, loss in losses:
        print(f'iteration {iteration:4d}  loss {loss:6.3f}  {"#" * round(50 * loss / highest)}')
    (_, first), (_, last) = losses[0], losses[-1]
    print(f'The loss fell from {first:.2f} to {last:.2f} ({last / first:.0%} of where it began).')


def plot_losses(losses, path):
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(*zip(*losses), marker='.')
    axes.set(xlabel='iteration', ylabel='training loss', ylim=(0, None))
    axes.set_title('Mask R-CNN, ReSwin-T, from random weights')
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, bbox_inches='tight')


def draw_contact_sheet(folder, path, columns=3, rows=4):
    """Tiles drawings, each of the ground truth next to the prediction."""
    files = sorted(file for file in folder.rglob('*') if file.suffix in ('.jpg', '.png'))[:columns * rows]
    figure, grid = plt.subplots(rows, columns, figsize=(6 * columns, 2.4 * rows), squeeze=False)
    for axes in grid.flat:
        axes.axis('off')
    for axes, file in zip(grid.flat, files):
        axes.imshow(Image.open(file))
        axes.set_title(f'{file.stem}: ground truth | prediction', fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


if __name__ == '__main__':
    main()
