"""Draws and saves figures with matplotlib, without a display."""
from typing import BinaryIO

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def save_figure(figure: Figure, path: str | BinaryIO, **options) -> None:
    """Saves a figure and closes it."""
    figure.savefig(path, **options)
    plt.close(figure)
