"""Draws the loss and the metric of a training over its epochs."""
import json
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config

from ..configs.tasks import find_task
from ..running.run_folder import RunFolder
from ..utils.shell import short_path
from .figures import save_figure


def draw_curves(cfg: Config) -> list[str]:
    """Draws the training of a recipe, also of one that was resumed, to ``curves.png`` in its work dir.

    Args:
        cfg (Config): Config of the training.

    Returns:
        list[str]: A line that names the file; none for other configs, and if MMEngine has written no losses.

    Raises:
        UsageError: If the file cannot be written.
    """
    metric = find_task(cfg.default_scope).metric
    losses, metrics = read_scalars(cfg.work_dir, metric) if RunFolder(cfg).is_recipe else ({}, {})
    if not losses:
        return []
    figure, path = Figure(figsize=(7, 4)), Path(cfg.work_dir, 'curves.png')
    axes = figure.subplots()
    lines = axes.plot(*zip(*losses.items()), color='tab:gray', label='training loss')
    axes.set(xlabel='epoch', ylabel='training loss', ylim=(0, None))
    if metrics:
        right = axes.twinx()
        right.set(ylabel=metric)
        right.margins(y=0.1)  # for the best value
        lines += right.plot(*zip(*metrics.items()), 'o-', label=metric)
        best = max(metrics, key=lambda epoch: metrics[epoch])
        right.annotate(f'{metrics[best]:.4g}', (best, metrics[best]), xytext=(0, 6), textcoords='offset points',
                       ha='center')
    axes.legend(handles=lines, loc='center right')
    save_figure(figure, path, dpi=100, bbox_inches='tight')
    return [f'curves      {short_path(str(path))}']


def read_scalars(work_dir: str | Path, metric: str) -> tuple[dict[float, float], dict[float, float]]:
    """Returns the losses and the metrics that MMEngine has written in a work dir, by their epochs.

    Of steps that were repeated after a resumption, the later ones count.
    """
    losses, metrics = {}, {}
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in map(json.loads, file.read_text(encoding='utf-8').splitlines()):
            if 'loss' in line:
                losses[line['step']] = line['epoch'], line['loss']
            elif metric in line:
                metrics[line['step']] = line[metric]
    steps_per_epoch = max(losses, default=1) / max((epoch for epoch, _ in losses.values()), default=1)
    return {step / steps_per_epoch: loss for step, (_, loss) in sorted(losses.items())}, dict(sorted(metrics.items()))
