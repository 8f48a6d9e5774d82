"""Draws which classes are taken for which, and truths beside predictions."""
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .fonts import default_font
from .results import MIN_DRAWING, Result, written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST, PAIRS = 30, 20  # classes in a matrix; pairs in place of a larger one
SIZE, GAP = 15, 8  # of letters and margins, in pixels


def draw_confusion(matrix: np.ndarray, classes: Sequence[str], outside: Sequence[str], title: str) -> 'Figure':
    """Draws a matrix of truths (rows) and predictions, or of many classes the pairs that are confused most.

    Counts are text on cells whose color is their share of the row.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    rows, columns = [*classes, *outside[1:]], [*classes, *outside[:1]]
    about = 'rows are the truth, columns the prediction'
    if len(classes) > MOST:
        errors = matrix * ~np.eye(len(matrix), dtype=bool)
        # Objects that are missed are many, and tell less than what they are taken for.
        pairs = sorted(zip(*errors.nonzero()), key=lambda pair: (max(pair) == len(classes), -errors[pair]))[:PAIRS]
        places = tuple(np.transpose(pairs)[..., None])
        matrix, shares = matrix[places], shares[places]
        rows, columns = [f'{rows[truth]} → {columns[found]}' for truth, found in pairs], ['']
        about = f'what is taken for what most, of {len(classes)} classes'
    figure, brief = Figure(figsize=(len(columns) / 2, len(rows) / 2)), EngFormatter(places=0, sep='')
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(shares, 'Blues', vmin=0, vmax=1, aspect='auto')
    axes.set_title(f'{title}: {about}', loc='left')
    axes.xaxis.tick_top()
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, rows)):
        axis.set_ticks(range(len(names)), names)
        for number, label in enumerate(axis.get_ticklabels()):
            name, font = written(names[number], number)
            label.set(text=name, font=Path(font), rotation=90 if axis is axes.xaxis else 0)
    for row, column in zip(*matrix.nonzero()):
        color = 'white' if shares[row, column] > 0.5 else 'black'
        axes.text(column, row, brief(int(matrix[row, column])), color=color, ha='center', va='center')
    return figure


def draw_pairs(pairs: Sequence[tuple[Sequence[Result], str]], title: str) -> Image.Image:
    """Draws truths beside predictions, each pair below a line about it, in two columns."""
    letters, width = ImageFont.truetype(default_font(), SIZE), 2 * (MIN_DRAWING + GAP)
    drawings = [[ImageOps.contain(drawing, (MIN_DRAWING, MIN_DRAWING))
                 for drawing in (truth.draw(has_scores=False), found.draw())] for (truth, found), _ in pairs]
    height = max(drawing.height for drawing, _ in drawings) + 2 * SIZE + GAP
    image = Image.new('RGB', (2 * width, 2 * SIZE + math.ceil(len(pairs) / 2) * height), 'white')
    draw = ImageDraw.Draw(image)
    draw.text((GAP, GAP), title, 'black', letters)
    for number, (_, text) in enumerate(pairs):
        x, y = GAP + number % 2 * width, 2 * SIZE + number // 2 * height
        draw.rectangle([x, y, *image.size], 'white')  # over a long line of the pair at the left
        draw.text((x, y + GAP), text, 'black', letters)
        for side, drawing in enumerate(drawings[number]):
            image.paste(drawing, (x + side * (MIN_DRAWING + GAP // 2), y + 2 * SIZE))
    return image
