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

FOLDER = Path(__file__).parent
# Column -> name in the logs of our runs. Columns of averaged weights end with `_ema`.
NAMES = {'lr': 'lr', 'train_loss': 'loss', 'top1': 'accuracy/top1', 'top5': 'accuracy/top5',
         'bbox_mAP': 'coco/bbox_mAP', 'segm_mAP': 'coco/segm_mAP', 'mIoU': 'mIoU', 'mAcc': 'mAcc', 'aAcc': 'aAcc'}


@dataclass(frozen=True)
class Curve:
    """A published curve.

    Args:
        config (str): Name of the recipe's config.
        updates_per_epoch (int | None): None if ``unit`` is ``'iteration'``.
        length (int): Length of the training in units.
        unit (str): ``'epoch'`` or ``'iteration'``.
        remark (str): What is missing in the log, or ''.
    """

    config: str
    updates_per_epoch: int | None
    length: int
    unit: str
    remark: str

    def values(self, name: str) -> dict[int, float]:
        """Returns ``'lr'``, ``'loss'`` or a metric such as ``'accuracy/top1'``, by number of epochs or iterations.

        Metrics are those of averaged weights if the log has them. The dict is empty if the log does not have the name.
        """
        columns = _read(self.config)
        column = next((column for column, ours in NAMES.items() if ours == name), '')
        if f'{column}_ema' in columns:
            column = f'{column}_ema'
        times = [int(at) for at in columns[self.unit]]
        shift = 1 - times[0] if self.unit == 'epoch' else 0  # the first epoch is 0 or 1
        return {at + shift: value for at, value in zip(times, columns.get(column, [])) if not math.isnan(value)}


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
        row['config'], int(row['updates_per_epoch']) if row['updates_per_epoch'] else None, int(row['length']),
        row['unit'], row['remark']) for row in rows}


CURVES = _read_sources()  # by name of the config
