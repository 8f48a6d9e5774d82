"""Draws which classes are taken for which, and truths beside predictions."""
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .fonts import default_font, font_for
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


def draw_results(drawn: Sequence[tuple[Sequence[Result], str]], title: str) -> Image.Image:
    """Draws the results of each image side by side, of which the last one has scores, below two lines about it."""
    step, side = MIN_DRAWING + GAP, len(drawn[0][0])
    drawings = [[ImageOps.contain(result.draw(has_scores=result is results[-1]), (MIN_DRAWING, MIN_DRAWING))
                 for result in results] for results, _ in drawn]
    height = max(drawing.height for part in drawings for drawing in part) + 4 * SIZE
    image = Image.new('RGB', (GAP + 4 * step, 2 * SIZE + math.ceil(side * len(drawn) / 4) * height), 'white')
    draw = ImageDraw.Draw(image)
    draw.text((GAP, GAP), title, 'black', letters_for(title))
    for number, (part, (_, text)) in enumerate(zip(drawings, drawn)):
        row, column = divmod(side * number, 4)
        x, y = GAP + column * step, 2 * SIZE + row * height
        draw.rectangle([x, y, *image.size], 'white')  # over a long line of the image at the left
        draw.text((x, y + GAP), text, 'black', letters_for(text))
        for place, drawing in enumerate(part):
            image.paste(drawing, (x + place * step, y + 4 * SIZE - GAP))
    return image


def letters_for(text: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_for(text) or default_font(), SIZE)
