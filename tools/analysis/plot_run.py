"""Plots losses, learning rates and metrics of trainings.

    python tools/analysis/plot_run.py work_dirs/imagenet_reswin_t work_dirs/imagenet_rest_lite --out runs.png
"""
import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

from drawing import plt, save_figure

from mmvit_backbones.errors import UsageError

sys.path.append(str(Path(__file__).resolve().parents[1]))
from command_line import output_file, run_script  # noqa: E402

COLUMNS = 3
NO_CURVES = {'iter', 'step', 'epoch', 'time', 'data_time', 'memory'}
Curves = dict[str, dict[int, float]]  # name -> step -> value


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='folder of a training')
    parser.add_argument('--out', type=output_file, default='run.png', help='figure to write (default: %(default)s)')
    return parser


def main(args: argparse.Namespace) -> None:
    runs = {path: read_run(Path(path)) for path in args.work_dirs}
    draw(runs, args.out)
    print(f'{", ".join(runs)} -> {args.out}')


def read_run(work_dir: Path) -> Curves:
    """Returns the curves of a run; repeated steps of a resumed run replace earlier ones."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'))  # their folders are named by the time
    if not files:
        raise UsageError(f'{work_dir} has no TIME/vis_data/scalars.json, which a training writes')
    curves: Curves = defaultdict(dict)
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            try:
                entry = json.loads(line)
                step = entry.get('iter', entry['step'])
            except (ValueError, KeyError, AttributeError) as error:
                raise UsageError(f'{file}, line {number}, is not what a training writes: {error}') from error
            for name, value in entry.items():
                if name not in NO_CURVES and isinstance(value, (int, float)):
                    curves[name][step] = value
    return dict(curves)


def draw(runs: dict[str, Curves], path: str) -> None:
    names = sorted({name for curves in runs.values() for name in curves}, key=lambda name: (order_of(name), name))
    rows = -(-len(names) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(4.5 * COLUMNS, 3 * rows), squeeze=False)
    for axes, name in zip(grid.flat, names):
        for run, curves in runs.items():
            points = sorted(curves.get(name, {}).items())
            axes.plot(*zip(*points) if points else ((), ()), label=run, marker='.' if len(points) < 30 else None)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel('iteration' if order_of(name) < 3 else 'epoch or iteration', fontsize=8)
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(names):]:
        axes.axis('off')
    if len(runs) > 1:
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc='lower center', fontsize=8)
    figure.tight_layout(rect=(0, 0.03 * len(runs) if len(runs) > 1 else 0, 1, 1))
    save_figure(figure, path, dpi=100)


def order_of(name: str) -> int:
    """Sorts the loss first, then its parts, learning rates and other training values; metrics last."""
    if name == 'loss':
        return 0
    if 'loss' in name:
        return 1
    return 2 if name.endswith('lr') or name == 'grad_norm' else 3


if __name__ == '__main__':
    run_script(get_parser(), main)
