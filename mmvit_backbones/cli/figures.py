"""Draws and saves figures with matplotlib, without a display."""
import argparse
from pathlib import Path
from typing import BinaryIO

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .arguments import output_file


def figure_file(path: str) -> str:
    """Returns a path after checking that it is writable and that matplotlib supports its suffix."""
    formats = FigureCanvasAgg.get_supported_filetypes()
    if Path(path).suffix.lower()[1:] not in formats:
        suffixes = ', '.join(f'.{name}' for name in sorted(formats))
        raise argparse.ArgumentTypeError(f'{path!r} must end with one of {suffixes}')
    return output_file(path)


def save_figure(figure: Figure, path: str | BinaryIO, **options) -> None:
    """Saves a figure and closes it."""
    figure.savefig(path, **options)
    plt.close(figure)
