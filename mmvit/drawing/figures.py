"""Saves figures of matplotlib, which are drawn without pyplot, so that a notebook's backend stays as it is."""
import textwrap
from pathlib import Path

from matplotlib.figure import Figure

from mmvit_backbones.utils.file_access import replaced_when_complete


def wrapped(text: str, width: int) -> str:
    """Returns lines of at most ``width`` characters, because a long path would leave the figure or narrow its axes."""
    return '\n'.join(textwrap.fill(line, width) for line in text.splitlines())


def save_figure(figure: Figure, path: str | Path, **options) -> None:
    """Saves a figure in the format of the file's suffix, by default matplotlib's, which is then added.

    Raises:
        UsageError: If the disk is full; there is no partial file.
    """
    with replaced_when_complete(path) as part:
        figure.savefig(part, **options)
