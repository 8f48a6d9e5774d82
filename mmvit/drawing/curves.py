"""Draws the loss and the metric of a training over its epochs."""
import json
import math
from pathlib import Path

from matplotlib.figure import Figure
from mmengine.config import Config

from mmvit_backbones.zoo.reading import LAST, last_of, read_file, runs_of

from ..frameworks import task_of
from ..running.run_folder import RunFolder
from ..utils.shell import short_path
from .figures import save_figure


def draw_curves(cfg: Config) -> list[str]:
    """Draws the training of a recipe, also of one that was resumed, to ``curves.png`` in its work dir.

    Args:
        cfg (Config): Config of the training.

    Returns:
        list[str]: A line that names the file; none for other configs, and without losses or a checkpoint of MMEngine.

    Raises:
        UsageError: If the file cannot be written.
    """
    if not RunFolder(cfg).is_recipe:
        return []
    task = task_of(cfg)
    metric = task.metric
    losses, metrics = read_scalars(cfg.work_dir, metric)
    if not losses:
        return []
    figure, path = Figure(figsize=(7, 4)), Path(cfg.work_dir, 'curves.png')
    axes = figure.subplots()
    lines = axes.plot(*zip(*losses.items()), color='tab:gray', label='training loss')
    axes.set(xlabel='step' if 'max_iters' in cfg.get('train_cfg', {}) else 'epoch', ylabel='training loss',
             ylim=(0, None))
    if metrics:
        metrics = {epoch: task.factor * value for epoch, value in metrics.items()}
        right = axes.twinx()
        right.set(ylabel=f'{metric}, %')
        right.margins(y=0.1)  # for the best value
        lines += right.plot(*zip(*metrics.items()), 'o-', label=metric)
        best = max(metrics, key=lambda epoch: metrics[epoch])
        right.annotate(f'{metrics[best]:.3g}', (best, metrics[best]), xytext=(0, 6), textcoords='offset points',
                       ha='center')
    axes.legend(handles=lines, loc='lower center', bbox_to_anchor=(0.5, 1.), ncols=2)  # above, where no curve is
    save_figure(figure, path, dpi=100, bbox_inches='tight')
    return [f'curves      {short_path(str(path))}']


def read_scalars(work_dir: str | Path, metric: str) -> tuple[dict[float, float], dict[float, float]]:
    """Returns the losses and the metrics that MMEngine has written of the last training in a work dir, by their epochs.

    Its logs are those of the runs that its last checkpoint records; of steps that were repeated after a resumption, the
    later ones count.
    """
    last, logs, rows = Path(work_dir, LAST), [*Path(work_dir).glob('*/vis_data/scalars.json')], []
    for name, begin in runs_of(read_file(last_of(last), mmap=True)) if last.is_file() else ():
        rows, step = [(step, row) for step, row in rows if step <= begin], begin
        for file in (file for file in logs if f'_{name}'.endswith(f'_{file.parts[-3]}')):
            for row in map(json.loads, file.read_text(encoding='utf-8').splitlines()):
                step = row['step'] if 'loss' in row else step  # a validation follows the steps before it
                rows.append((step, row))
    losses = {step: row for step, row in rows if 'loss' in row}
    length = max(losses, default=1) / max((row.get('epoch', step) for step, row in losses.items()), default=1)
    metrics = {row['step']: row[metric] for _, row in rows if not math.isnan(row.get(metric, math.nan))}
    return {step / length: row['loss'] for step, row in losses.items()}, metrics
