"""Draws images with the annotations stored in their data set, without the transforms of the training pipeline."""
import os.path as osp
from math import isfinite
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from PIL import Image, ImageDraw

from ..errors import UsageError
from ..utils.images import check_image, read_rgb
from .coco import sums_of_run_lengths
from .text import IGNORED

SIDE = 480  # longer side of a drawing in pixels, without its margin
MARGIN = 60  # in pixels, for annotations that extend beyond the image
MAX_PIXELS = 100_000_000  # of a decoded mask
GRAY = 200, 200, 200
COLORS = [(230, 25, 75), (0, 110, 220), (245, 130, 48), (60, 160, 60), (145, 30, 180), (0, 170, 170), (240, 50, 230),
          (150, 99, 36), (128, 128, 0), (0, 0, 128)]


class Annotation(NamedTuple):
    """An object: its class, its box x, y, width, height, and COCO's ``segmentation``. The values may be invalid."""

    label: int
    name: str
    box: object
    outline: object


class Sample(NamedTuple):
    """An image with its objects, or with the path of its semantic segmentation mask."""

    image: str
    annotations: list[Annotation]
    mask: str | None = None


def samples_of_coco(content: dict, folder: str) -> list[Sample]:
    """Returns the images of a COCO file with their annotations; the image files are in ``folder``."""
    numbers = {category['id']: i for i, category in enumerate(content['categories'])}
    names = {category['id']: str(category['name']) for category in content['categories']}
    of_image = {image['id']: [] for image in content['images']}
    for entry in content['annotations']:
        category = entry.get('category_id')
        if entry.get('image_id') in of_image:
            of_image[entry['image_id']].append(Annotation(numbers.get(category, -1), names.get(category, str(category)),
                                                          entry.get('bbox'), entry.get('segmentation')))
    return [Sample(osp.join(folder, image['file_name']), of_image[image['id']]) for image in content['images']]


def draw_sample(sample: Sample) -> np.ndarray:
    """Returns an RGB drawing (height, width, 3) with a gray margin; shapes that cannot be drawn are left out.

    A mask whose size differs from its image is not stretched, but aligned with the image's upper left corner.
    """
    try:
        image = read_rgb(sample.image)
    except UsageError:
        canvas = Image.new('RGB', (SIDE, SIDE * 3 // 4), GRAY)
        ImageDraw.Draw(canvas).text((MARGIN, MARGIN), 'cannot be read', fill='black')
        return np.array(canvas)
    scale = SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    image = image.resize((width, height))
    canvas = Image.new('RGB', (width + 2 * MARGIN, height + 2 * MARGIN), GRAY)
    canvas.paste(image, (MARGIN, MARGIN))
    if sample.mask:
        _draw_labels(canvas, _read_labels(sample.mask), scale)
    for annotation in sample.annotations:
        _draw_outline(canvas, annotation, scale)
    for annotation in sample.annotations:
        _draw_box(canvas, annotation, scale)
    return np.array(canvas)


def _read_labels(path: str) -> np.ndarray:
    try:
        labels = np.array(check_image(path))
    except UsageError:
        return np.full((1, 1), IGNORED)
    return labels if labels.ndim == 2 else labels[..., 0]


def _draw_labels(canvas: Image.Image, labels: np.ndarray, scale: float) -> None:
    """Draws a label map (height, width) in half-transparent class colors; skips the label 255."""
    height, width = labels.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    classes = Image.fromarray(labels.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    labels = np.array(classes)
    colors = np.array(COLORS, dtype=np.uint8)[labels % len(COLORS)]
    alpha = np.where(labels == IGNORED, 0, 128).astype(np.uint8)
    canvas.paste(Image.fromarray(colors), (MARGIN, MARGIN), Image.fromarray(alpha))


def _draw_outline(canvas: Image.Image, annotation: Annotation, scale: float) -> None:
    color, alpha = COLORS[annotation.label % len(COLORS)], Image.new('L', canvas.size)
    if isinstance(annotation.outline, dict):
        mask = _decode(annotation.outline)
        if mask is None:
            return
        height, width = (max(1, round(side * scale)) for side in mask.shape)
        alpha.paste(Image.fromarray(mask * np.uint8(110)).resize((width, height)), (MARGIN, MARGIN))
    elif isinstance(annotation.outline, list):
        for polygon in filter(_are_numbers, annotation.outline):
            if len(polygon) >= 6:
                points = _place(polygon[:len(polygon) // 2 * 2], scale)
                ImageDraw.Draw(alpha).polygon(points, fill=110, outline=255)
    canvas.paste(Image.new('RGB', canvas.size, color), mask=alpha)


def _decode(run_lengths: dict) -> np.ndarray | None:
    """Returns the mask (height, width) of a COCO run-length encoding, or None if it is invalid or too large."""
    from pycocotools import mask
    counts, size = run_lengths.get('counts'), run_lengths.get('size')
    if not _are_numbers(size) or len(size) != 2:
        return None
    height, width = map(int, size)
    if min(height, width) <= 0 or height * width > MAX_PIXELS:
        return None
    encoded: Any = {'size': [height, width], 'counts': counts}  # the stubs lack a type for uncompressed counts
    if isinstance(counts, str):
        return mask.decode(encoded) if sums_of_run_lengths([counts])[0] == height * width else None
    if not _are_numbers(counts):
        return None
    encoded['counts'] = lengths = list(map(int, counts))
    if min(lengths, default=-1) < 0 or sum(lengths) != height * width:
        return None
    return mask.decode(mask.frPyObjects(encoded, height, width))


def _draw_box(canvas: Image.Image, annotation: Annotation, scale: float) -> None:
    if not _are_numbers(annotation.box) or len(annotation.box) != 4:
        return
    x, y, width, height = annotation.box
    left, right, top, bottom = _place([*sorted((x, x + width)), *sorted((y, y + height))], scale)
    color, draw = COLORS[annotation.label % len(COLORS)], ImageDraw.Draw(canvas)
    draw.rectangle((left, top, right, bottom), outline=color, width=2)
    place = min(max(left, 0), canvas.width - 20), min(max(top - 12, 0), canvas.height - 12)
    draw.rectangle(draw.textbbox(place, annotation.name), fill='white')
    draw.text(place, annotation.name, fill=color)


def _place(values: list[float], scale: float) -> list[float]:
    """Converts image coordinates to drawing coordinates; clips them to a range around the drawing."""
    return np.clip(MARGIN + np.array(values, dtype=float) * scale, -SIDE, 3 * SIDE).tolist()


def _are_numbers(values: object) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(isinstance(v, (int, float)) and isfinite(v) for v in values)
