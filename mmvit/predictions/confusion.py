"""Draws which classes are taken for which, and truths beside predictions."""
import itertools
import math
from collections.abc import Iterable, Sequence
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


def draw_results(drawn: Iterable[tuple[Sequence[Result], str]], number: int, title: str) -> Image.Image:
    """Draws this number of results in four columns, those of an image side by side below two lines about it.

    The last result of an image has scores. Images are read while they are drawn, as many large ones fill the memory.
    """
    width, height = MIN_DRAWING + GAP, MIN_DRAWING + 4 * SIZE
    image = Image.new('RGB', (GAP + 4 * width, 2 * SIZE + math.ceil(number / 4) * height), 'white')
    draw = ImageDraw.Draw(image)
    draw.text((GAP, GAP), title, 'black', letters_for(title))
    places = itertools.product(range(2 * SIZE, image.height, height), range(GAP, image.width, width))
    for results, text in drawn:
        for result, (y, x) in zip(results, places):  # which keep the next place for the next image
            if result is results[0]:
                draw.rectangle([x - GAP, y, *image.size], 'white')  # over a long line of the image at the left
                draw.text((x, y + GAP), text, 'black', letters_for(text))
            drawing = result.draw(has_scores=result is results[-1])
            image.paste(ImageOps.contain(drawing, (MIN_DRAWING, MIN_DRAWING)), (x, y + 4 * SIZE - GAP))
    return image


def letters_for(text: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_for(text) or default_font(), SIZE)
