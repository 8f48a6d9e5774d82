"""Draws the metrics of compared networks against their latencies."""
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from .figures import save_figure, wrapped

MARKERS = 'o^sDvP*'  # 7, so that a marker meets each of matplotlib's 10 colors once


def draw_ranking(path: Path, rows: Sequence[dict], unit: str) -> None:
    """Draws the rows of a :class:`.Comparison`, best first, with the range of their seeds."""
    figure = Figure(figsize=(6.5, 4))
    axes = figure.subplots()
    for index, row in enumerate(rows):
        x, y = row['ms per image, inference'], row['metric']
        axes.errorbar(x, y, [[y - row['lowest']], [row['highest'] - y]], fmt=MARKERS[index % len(MARKERS)], capsize=3,
                      label=wrapped(row['network'], 40))
    slowest = max(row['ms per image, inference'] for row in rows)
    axes.set(xlabel='ms per image, inference', ylabel=unit, xlim=(0, 1.1 * slowest))
    axes.grid(alpha=0.3)
    axes.legend(loc='upper left', bbox_to_anchor=(1, 1.03), title='best first', frameon=False)
    save_figure(figure, path, dpi=100, bbox_inches='tight')  # as high and wide as the legend
