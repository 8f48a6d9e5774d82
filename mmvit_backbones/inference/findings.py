"""Lists, draws and serializes the predictions for an image."""
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

IGNORED = 255  # mmseg's label for what belongs to no class


def list_findings(prediction: dict[str, np.ndarray], classes: list[str], threshold: float) -> list[dict]:
    """Lists the results of :meth:`Model.predict`: five classes, objects from a score threshold on, or segments.

    Each has ``number``, ``label`` (the number, if the class has no name) and ``score`` (of a segment its share of the
    image); objects have ``box (4,)``, objects and segments ``mask (height, width)``. The largest score comes first.
    """
    if 'segmentation' in prediction:
        segments = prediction['segmentation']
        numbers, pixels = np.unique(segments, return_counts=True)
        found = [dict(number=n, score=p / segments.size, mask=segments == n)
                 for n, p in zip(numbers, pixels) if n != IGNORED]
    else:
        names = dict(labels='number', scores='score', boxes='box', masks='mask')
        kept = np.flatnonzero(prediction['scores'] >= threshold) if 'boxes' in prediction else range(5)
        found = [{names[key]: values[i] for key, values in prediction.items()}
                 for i in kept if i < len(prediction['scores'])]
    for one in found:
        one.update(number=int(one['number']), score=float(one['score']))
        one['label'] = classes[one['number']] if one['number'] < len(classes) else str(one['number'])
    return sorted(found, key=lambda one: -one['score'])


def as_json(found: list[dict]) -> list[dict]:
    """Converts findings to JSON: boxes x1, y1, x2, y2 in pixels, masks in COCO's run-length encoding."""
    from pycocotools.mask import encode
    results = []
    for one in found:
        result = dict(label=one['label'], score=round(one['score'], 4))
        if 'box' in one:
            result['box'] = [round(float(side), 1) for side in one['box']]
        if 'mask' in one:
            mask = encode(np.asfortranarray(one['mask'], np.uint8))
            result['mask'] = dict(size=mask['size'], counts=mask['counts'].decode())
        results.append(result)
    return results


def draw_findings(image: np.ndarray, found: list[dict]) -> Image.Image:
    """Draws masks, boxes and labels over an image ``(height, width, 3)``; without boxes, labels form a list."""
    from matplotlib import colormaps
    from matplotlib.font_manager import findfont
    image = image.copy()
    # Steps of the golden ratio keep the colors of neighbors apart.
    colors = [tuple(round(255 * c) for c in colormaps['hsv'](0.618 * one['number'] % 1)[:3]) for one in found]
    for one, color in zip(found, colors):
        if 'mask' in one:
            mask = one['mask'].astype(bool)
            image[mask] = image[mask] // 2 + np.array(color, np.uint8) // 2
    drawing = Image.fromarray(image)
    pen, size = ImageDraw.Draw(drawing), max(11, round(math.sqrt(drawing.width * drawing.height) / 40))
    font = ImageFont.truetype(findfont('DejaVu Sans'), size)
    for i, (one, color) in enumerate(zip(found, colors)):
        corner = (0, 1.3 * i * size)
        if 'box' in one:
            x1, y1, x2, y2 = map(float, one['box'])
            pen.rectangle([x1, y1, max(x1, x2), max(y1, y2)], outline=color, width=max(2, size // 7))
            corner = x1, max(y1 - 1.3 * size, 0)
        text = f' {one["label"]} {one["score"]:.0%} '
        pen.rectangle([*corner, corner[0] + font.getlength(text), corner[1] + 1.3 * size], fill=color)
        pen.text(corner, text, 'white' if sum(color) < 300 else 'black', font)
    return drawing
