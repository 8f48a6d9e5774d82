"""Draws and saves figures with matplotlib, without a display."""
from pathlib import Path
from typing import BinaryIO

import matplotlib

from mmvit_backbones.utils.files import replaced_when_complete

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def save_figure(figure: Figure, target: str | Path | BinaryIO, **options) -> None:
    """Saves a figure and closes it.

    Raises:
        UsageError: If the disk is full; there is no partial file.
    """
    if isinstance(target, (str, Path)):
        with replaced_when_complete(target) as part:
            figure.savefig(part, format=Path(target).suffix[1:] or None, **options)
    else:
        figure.savefig(target, **options)
    plt.close(figure)
