"""Plots losses, learning rates and metrics of training runs.

    mmvit draw run work_dirs/imagenet_reswin_t work_dirs/imagenet_rest_lite --out runs.png
"""
import argparse
import json
import os
import re
from collections import defaultdict
from pathlib import Path

from ...errors import UsageError
from ..figures import figure_file, plt, save_figure

COLUMNS = 3
ORDER = ['loss', 'learning rate']
MAIN = ('loss', 'lr')
# Overall metrics only: metrics per class or object size would be too many curves.
METRIC = re.compile(
    r'(?P<kind>coco/\w+?)_mAP(_50)?|(?P<other>accuracy)/top\d|m(IoU|Acc)|aAcc')
NO_CURVES = {'iter', 'step', 'epoch', 'time', 'data_time', 'memory'}
Curves = dict[str, dict[int, float]]  # name -> step -> value


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='work dir of a training run')
    parser.add_argument('--out', type=figure_file, default='run.png', help='figure to write (default: %(default)s)')
    return parser


def main(args: argparse.Namespace) -> None:
    runs = {path: read_run(Path(path)) for path in args.work_dirs}
    draw(runs, args.out)
    print(f'{", ".join(runs)} -> {args.out}')


def read_run(work_dir: Path) -> Curves:
    """Returns the curves of a run. If a resumed run repeated steps, their last values are returned."""
    is_folder = os.path.isdir(work_dir)
    files = sorted(work_dir.glob('*/vis_data/scalars.json')) if is_folder else []  # in chronological order
    if not files:
        raise UsageError(f'{work_dir} has no TIME/vis_data/scalars.json, which every training run writes')
    curves: Curves = defaultdict(dict)
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            try:
                entry = json.loads(line)
                step = entry.get('iter', entry['step'])
            except (ValueError, KeyError, AttributeError) as error:
                raise UsageError(f'{file}, line {number}, is not an entry of a training log: {error}') from error
            for name, value in entry.items():
                if name not in NO_CURVES and isinstance(value, (int, float)):
                    curves[name][step] = value
    return dict(curves)


def draw(runs: dict[str, Curves], path: str) -> None:
    names = {name for curves in runs.values() for name in curves}
    panels = [panel for panel in dict.fromkeys(map(panel_of, sorted(names))) if panel]
    panels.sort(key=lambda panel: (ORDER.index(panel) if panel in ORDER else len(ORDER), panel))
    if not panels:
        raise UsageError(f'no loss, learning rate or metric is logged in {" or ".join(runs)}')
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(5.5 * columns, 3.6 * rows), squeeze=False)
    for axes, panel in zip(grid.flat, panels):
        for run, curves in runs.items():
            for name in sorted(curves):
                if panel_of(name) == panel and (len(runs) == 1 or name in MAIN or panel not in ORDER):
                    # pycocotools returns -1 for metrics without objects.
                    points = sorted((step, value) for step, value in curves[name].items() if value != -1)
                    label = name if len(runs) == 1 else f'{run}: {name}'
                    if points:
                        axes.plot(*zip(*points), label=label, marker='o' if len(points) < 30 else None, markersize=3,
                                  linewidth=2 if name in MAIN else 1)
        axes.set_title(panel)
        axes.set_xlabel('iteration' if panel in ORDER else 'epoch or iteration')
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    for axes in grid.flat[len(panels):]:
        axes.axis('off')
    figure.tight_layout()
    save_figure(figure, path, dpi=100)


def panel_of(name: str) -> str:
    """Returns the title of a curve's panel: loss, learning rate or a kind of metric; '' for values without a panel."""
    if name == 'loss' or 'loss' in name.rpartition('.')[2]:
        return 'loss'
    if name == 'lr':
        return 'learning rate'
    match = METRIC.fullmatch(name)
    return (match['kind'] or match['other'] or 'metric') if match else ''
