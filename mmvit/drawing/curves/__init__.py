"""Published curves: figures per epoch from the logs of published runs, by the names of this package's configs.

``sources.csv`` has one curve per row: its log, and what a comparable run has, namely the numbers of training images and
of images per update, and the length. The figures are in files named after the configs. Rows of ``imagenet_*`` are
numbered from epoch 0, as in the logs; AP is between 0 and 1, other metrics are in percent.
"""
import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

FOLDER = Path(__file__).parent
# Column -> name in the logs of our runs. Columns of averaged weights end with `_ema`.
NAMES = {'lr': 'lr', 'train_loss': 'loss', 'top1': 'accuracy/top1', 'top5': 'accuracy/top5',
         'bbox_mAP': 'coco/bbox_mAP', 'segm_mAP': 'coco/segm_mAP', 'mIoU': 'mIoU', 'mAcc': 'mAcc', 'aAcc': 'aAcc'}
NEIGHBORS = 10  # evaluations on each side, from which the noise is estimated
SIGMAS = 4  # 3 standard deviations of the difference of two noisy runs


@dataclass(frozen=True)
class Curve:
    """A published curve.

    Args:
        config (str): Name of the recipe's config.
        images (int): Training images.
        images_per_update (int): Images per update of the weights, in all processes.
        updates_per_epoch (int | None): None if ``unit`` is ``'iteration'``.
        length (int): Length of the training in units.
        unit (str): ``'epoch'`` or ``'iteration'``.
        source (str): Repository, commit and file of the log.
        remark (str): What is missing in the log, or ''.
    """

    config: str
    images: int
    images_per_update: int
    updates_per_epoch: int | None
    length: int
    unit: str
    source: str
    remark: str

    def values(self, name: str, averaged: bool = True) -> dict[int, float]:
        """Returns ``'lr'``, ``'loss'`` or a metric such as ``'accuracy/top1'``, by number of epochs or iterations.

        With ``averaged``, metrics are those of averaged weights if the log has them. The dict is empty if the log does
        not have the name.
        """
        columns = _read(self.config)
        column = next((column for column, ours in NAMES.items() if ours == name), '')
        if averaged and f'{column}_ema' in columns:
            column = f'{column}_ema'
        times = [int(at) for at in columns[self.unit]]
        shift = 1 - times[0] if self.unit == 'epoch' else 0  # the first epoch is 0 or 1
        return {at + shift: value for at, value in zip(times, columns.get(column, [])) if not math.isnan(value)}

    def low(self, name: str, at: int, averaged: bool = True) -> float:
        """Returns a metric's lowest value at an epoch or iteration that the noise of the curve explains.

        This is the lowest published value of this evaluation and the two before, minus four standard deviations of the
        noise of the raw weights. Averaged weights have less noise, but not less difference between two runs.
        """
        values = self.values(name, averaged)
        return min([values[t] for t in sorted(values) if t <= at][-3:]) - SIGMAS * self.noise(name, at)

    def noise(self, name: str, at: int) -> float:
        """Returns the standard deviation of a metric of the raw weights around the line through its neighbors."""
        values = self.values(name, averaged=False)
        times = sorted(values)
        residuals = {now: values[now] - (values[before] + values[after]) / 2
                     for before, now, after in zip(times, times[1:], times[2:])}
        nearest = sorted(residuals, key=lambda t: abs(t - at))[:2 * NEIGHBORS + 1]
        # The median ignores steps of the learning rate. For normal noise, it is 0.67 standard deviations of a residual,
        # whose variance is 1.5 times the noise's.
        return median(abs(residuals[t]) for t in nearest) / 0.6745 / 1.5**0.5


@cache
def _read(config: str) -> dict[str, list[float]]:
    """Returns the columns of a file; missing values are NaN."""
    with (FOLDER / f'{config}.csv').open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    return {column: [float(row[column] or math.nan) for row in rows] for column in rows[0]}


def _read_sources() -> dict[str, Curve]:
    with (FOLDER / 'sources.csv').open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    return {row['config']: Curve(
        config=row['config'], images=int(row['images']), images_per_update=int(row['images_per_update']),
        updates_per_epoch=int(row['updates_per_epoch']) if row['updates_per_epoch'] else None,
        length=int(row['length']), unit=row['unit'], source=row['source'], remark=row['remark']) for row in rows}


CURVES = _read_sources()  # by name of the config
