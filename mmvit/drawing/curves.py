"""Draws the loss and the metric of a training over its epochs."""
import json
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config

from ..configs.tasks import find_task
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
    if 'recipe' not in cfg:
        return []
    losses, metrics, metric = {}, {}, find_task(cfg.default_scope).metric
    for file in sorted(Path(cfg.work_dir).glob('*/vis_data/scalars.json')):  # a later run's steps count
        for line in map(json.loads, file.read_text(encoding='utf-8').splitlines()):
            if 'loss' in line:
                losses[line['step']] = line['epoch'], line['loss']
            elif metric in line:
                metrics[line['step']] = line[metric]
    if not losses:
        return []
    steps_per_epoch = max(losses) / max(epoch for epoch, _ in losses.values())
    figure, path = Figure(figsize=(7, 4)), Path(cfg.work_dir, 'curves.png')
    axes = figure.subplots()
    lines = axes.plot([step / steps_per_epoch for step in sorted(losses)],
                      [losses[step][1] for step in sorted(losses)], color='tab:gray', label='training loss')
    axes.set(xlabel='epoch', ylabel='training loss', ylim=(0, None))
    if metrics:
        right = axes.twinx()
        right.set(ylabel=metric)
        right.margins(y=0.1)  # for the best value
        lines += right.plot(sorted(metrics), [metrics[epoch] for epoch in sorted(metrics)], 'o-', label=metric)
        best = max(metrics, key=lambda epoch: metrics[epoch])
        right.annotate(f'{metrics[best]:.4g}', (best, metrics[best]), xytext=(0, 6), textcoords='offset points')
    axes.legend(handles=lines, loc='center right')
    save_figure(figure, path, dpi=100, bbox_inches='tight')
    return [f'curves      {short_path(str(path))}']
