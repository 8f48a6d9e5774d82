"""Plots losses, learning rates and metrics of training runs."""
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from mmvit_backbones.errors import UsageError

from ..configs.saved import values_of
from ..utils.run_logs import logged, not_an_entry
from .curves import CURVES, NAMES, Curve
from .figures import save_figure, wrapped

COLUMNS = 3
ORDER = ['loss', 'learning rate']
MAIN = ('loss', 'lr')
# Overall metrics only: metrics per class or object size would be too many curves.
METRIC = re.compile(
    r'(?P<kind>coco/\w+?)_mAP(_50)?|(?P<other>accuracy)/top\d|m(IoU|Acc)|aAcc')
NO_CURVES = {'iter', 'step', 'time', 'data_time', 'memory'}
PUBLISHED = 'published '  # before the name of a published run
BEYOND = 1.25  # a published run is drawn until this multiple of the run's last step
Curves = dict[str, dict[int, float]]  # name -> step -> value


def draw_runs(work_dirs: Sequence[str], out: str, *, published: bool = False) -> list[str]:
    """Plots losses, learning rates and metrics of training runs.

    Args:
        work_dirs (Sequence[str]): Work dirs of the runs.
        out (str): File of the figure.
        published (bool): Whether to draw the published run of a work dir's recipe, too. Defaults to False.

    Returns:
        list[str]: How runs differ from the published ones, which makes them not comparable; also the figure's title.

    Raises:
        UsageError: If a work dir has no log, or no published run.
    """
    runs, different = {path: read_run(Path(path)) for path in work_dirs}, []
    for path in work_dirs if published else ():
        curve = published_curve(Path(path))
        file = Path(path, f'{curve.config}.py')
        try:
            settings = values_of(file)
        except ValueError as error:
            raise UsageError(f'config {file} {error}; it must be as the training saved it') from error
        if found := differences(runs[path], curve, settings):
            different.append(f'{path} is not comparable with the published run: {", ".join(found)}')
        runs[PUBLISHED + curve.config] = curves_of(curve, runs[path])
    draw(runs, out, '\n'.join(different))
    return different


def read_run(work_dir: Path) -> Curves:
    """Returns the curves of a run. If a resumed run repeated steps, their last values are returned."""
    curves: Curves = defaultdict(dict)
    for file, number, entry in logged(work_dir):
        try:
            step = entry.get('iter', entry['step'])
        except KeyError as error:
            raise not_an_entry(file, number, error) from error
        for name, value in entry.items():
            if name not in NO_CURVES and isinstance(value, (int, float)):
                curves[name][step] = value
    return dict(curves)


def published_curve(work_dir: Path) -> Curve:
    """Returns the published curve of a run's recipe, which is named as the config in the work dir."""
    names = {path.stem for path in work_dir.glob('*.py')} & CURVES.keys()
    if not names:
        raise UsageError(f'published: no config in {work_dir} has a published curve; available curves: '
                         f'{", ".join(sorted(CURVES))}')
    return CURVES[min(names)]


def differences(run: Curves, curve: Curve, settings: dict) -> list[str]:
    """Returns how the length of a run and its updates per epoch differ from the published run."""
    different = []
    length = (settings.get('train_cfg') or {}).get('max_epochs' if curve.unit == 'epoch' else 'max_iters', curve.length)
    if length != curve.length:
        different.append(f'{length} {curve.unit}s instead of {curve.length}')
    epochs = run.get('epoch', {})
    if epochs and curve.updates_per_epoch is not None:
        updates = max(step / epoch for step, epoch in epochs.items())
        # The last log of an epoch may be almost a log interval before its end.
        if not 0.9 < updates / curve.updates_per_epoch < 1.1:
            different.append(f'about {updates:.0f} updates per epoch instead of {curve.updates_per_epoch}')
    return different


def curves_of(curve: Curve, run: Curves) -> Curves:
    """Returns the published values of what a run has logged, a little beyond its last step.

    Losses and learning rates are given by iteration, metrics by evaluation, as in logs of runs.
    """
    curves = {}
    for name in run.keys() & set(NAMES.values()):
        values = curve.values(name)
        if panel_of(name) in ORDER and curve.updates_per_epoch is not None:  # means of an epoch, drawn in its middle
            values = {at * curve.updates_per_epoch - curve.updates_per_epoch // 2: x for at, x in values.items()}
        curves[name] = {at: value for at, value in values.items() if at <= BEYOND * max(run[name])}
    return curves


def draw(runs: dict[str, Curves], path: str, title: str = '') -> None:
    names = {name for curves in runs.values() for name in curves}
    panels = [panel for panel in dict.fromkeys(map(panel_of, sorted(names))) if panel]
    panels.sort(key=lambda panel: (ORDER.index(panel) if panel in ORDER else len(ORDER), panel))
    if not panels:
        raise UsageError(f'no loss, learning rate or metric is logged in {" or ".join(runs)}')
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.5 * columns, 3.6 * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(grid.flat, panels):
        for run, curves in runs.items():
            for name in sorted(curves):
                if panel_of(name) == panel and (len(runs) == 1 or name in MAIN or panel not in ORDER):
                    # pycocotools returns -1 for metrics without objects.
                    points = sorted((step, value) for step, value in curves[name].items() if value != -1)
                    label = name if len(runs) == 1 else f'{run}: {name}'
                    if points:
                        style = dict(color='black', linestyle='--') if run.startswith(PUBLISHED) else {}
                        axes.plot(*zip(*points), label=wrapped(label, 40), marker='o' if len(points) < 30 else None,
                                  markersize=3, linewidth=2 if name in MAIN else 1, **style)
        axes.set_title(panel)
        axes.set_xlabel('iteration' if panel in ORDER else 'epoch or iteration')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(EngFormatter(sep=''))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    for axes in grid.flat[len(panels):]:
        axes.axis('off')
    figure.suptitle(wrapped(title, 50 * columns))
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
