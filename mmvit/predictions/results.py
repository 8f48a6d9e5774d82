"""Prediction results as arrays, JSON and drawings."""
import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmvit_backbones.utils.file_access import replaced_when_complete

from ..folders.colors import Color, class_color
from ..folders.images import IGNORED
from .fonts import default_font, font_for

SCORE_THR = 0.3  # default minimum score of objects
MIN_DRAWING = 440  # pixels; square root of a drawing's minimum area, so that labels stay readable
OPACITY = 0.4  # of masks


@dataclass
class Result:
    """The prediction for one image.

    Attributes:
        source (str): Path or index of the image.
        image (np.ndarray): The image as an RGB uint8 array ``(height, width, 3)``.
        classes (list[str]): Names of the classes; empty if the model has none.
        palette (list): RGB color of each class; empty if the model has none.
    """

    source: str
    image: np.ndarray
    classes: list[str]
    palette: list[Color]

    def __repr__(self) -> str:
        """Returns a one-line summary with the five best items."""
        items = self.items()
        best = [f'{self.name(item["label"])} {item["score"]:.1%}' for item in items[:5]]
        more = [f'{len(items) - 5} more'] if len(items) > 5 else []
        height, width = self.image.shape[:2]
        return f'{type(self).__name__}({self.source!r}, {width} x {height}: {", ".join(best + more) or "nothing"})'

    def name(self, label: int) -> str:
        return self.classes[label] if label < len(self.classes) else str(label)

    def color(self, label: int) -> Color:
        """Returns the color of a class; labels beyond the palette get colors that can be told apart."""
        return self.palette[label] if label < len(self.palette) else class_color(label)

    def from_score(self, threshold: float) -> 'Result':
        """Returns the result without objects whose scores are lower; those of classifiers and segmenters stay."""
        return self

    def items(self) -> list[dict]:
        """Returns one dict per item, best first, with ``label``, ``score`` and, if available, ``box`` and ``mask``."""
        raise NotImplementedError

    def to_dict(self) -> dict:
        """Returns a JSON-serializable dict: source and size of the image; category, label and score of each item.

        Detected objects also have a box ``[x1, y1, x2, y2]`` in pixels. Masks of objects and segments are
        encoded as COCO RLE.
        """
        items = []
        for item in self.items():
            label, score = item['label'], round(item['score'], 6)
            values: dict = dict(category=self.name(label), label=label, score=score)
            if 'box' in item:
                values['box'] = [round(float(side), 2) for side in item['box']]
            if 'mask' in item:
                values['mask'] = run_lengths(item['mask'])
            items.append(values)
        return dict(source=self.source, height=self.image.shape[0], width=self.image.shape[1], items=items)

    def to_annotations(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict]:
        """Returns annotations of a COCO file for objects that have an area, with masks as polygons, without ``id``.

        Args:
            image_id, category_ids: As for :meth:`to_coco`.
        """
        entries = []
        for item, entry in zip(self.items(), self.to_coco(image_id, category_ids)):
            area = int(item['mask'].sum()) if 'mask' in item else entry['bbox'][2] * entry['bbox'][3]
            if area:
                outlines = outlines_of(item['mask']) if 'mask' in item else []
                entries.append(dict(entry, area=area, iscrowd=0, segmentation=outlines))
        return entries

    def to_coco(self, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict]:
        """Returns entries of a COCO results file, with boxes as ``[x, y, width, height]`` and masks as RLE.

        Args:
            image_id (int): ID of the image in the annotations.
            category_ids (Sequence[int] | None): Category ID of each class. Defaults to None, which numbers the
                classes from 1.

        Raises:
            IndexError: If ``category_ids`` has no entry for a class.
        """
        entries = []
        for item in self.to_dict()['items']:
            label = item['label']
            category_id = label + 1 if category_ids is None else category_ids[label]
            entry: dict = dict(image_id=image_id, category_id=category_id, score=item['score'])
            if 'box' in item:
                x1, y1, x2, y2 = item['box']
                entry['bbox'] = [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
            if 'mask' in item:
                entry['segmentation'] = item['mask']
            entries.append(entry)
        return entries

    def draw(self, has_scores: bool = True) -> Image.Image:
        """Draws masks, boxes and labels over the image.

        Labels of items without boxes are listed in the top left corner. Small images are enlarged by an integer factor
        to an area of at least ``MIN_DRAWING ** 2`` pixels.

        Args:
            has_scores (bool): Whether labels have scores, which a truth has not. Defaults to True.
        """
        items = self.items()
        image = self.image.copy()
        for item in reversed(items):  # the best item is drawn on top
            if 'mask' in item:
                mask, color = item['mask'], np.array(self.color(item['label']), np.uint8)
                image[mask] = np.round((1 - OPACITY) * self.image[mask] + OPACITY * color)  # once where masks overlap
        pen = _Pen(image)
        for item in reversed(items):
            if 'box' in item:
                pen.box(item['box'], self.color(item['label']))
        for number, item in enumerate(items):
            score = ' <1%' if item['score'] < 0.005 else f' {item["score"]:.0%}'
            pen.label(*written(self.name(item['label']), item['label']), score if has_scores else '',
                      self.color(item['label']), item.get('box'), number)
        return pen.drawing


@dataclass(repr=False)
class Classification(Result):
    """The classes of an image, ranked by probability.

    Attributes:
        labels (np.ndarray): Indices of all classes, best first, int64 ``(K)``.
        scores (np.ndarray): Probabilities in the order of ``labels``, float32 ``(K)``.
    """

    labels: np.ndarray
    scores: np.ndarray
    count = 5

    def items(self) -> list[dict]:
        """Returns the five best classes."""
        return [dict(label=int(label), score=float(score))
                for label, score in zip(self.labels[:self.count], self.scores[:self.count])]


@dataclass(repr=False)
class Detection(Result):
    """Objects in an image whose scores reach the predictor's threshold, best first.

    Attributes:
        labels (np.ndarray): Class indices, int64 ``(N)``.
        scores (np.ndarray): Scores, float32 ``(N)``.
        boxes (np.ndarray): Boxes x1, y1, x2, y2 in pixels, float32 ``(N, 4)``.
        masks (np.ndarray | None): Masks, bool ``(N, height, width)``; None if the model predicts no masks.
    """

    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray | None = None

    def from_score(self, threshold: float) -> 'Detection':
        kept = self.scores >= threshold
        return replace(self, labels=self.labels[kept], scores=self.scores[kept], boxes=self.boxes[kept],
                       masks=None if self.masks is None else self.masks[kept])

    def items(self) -> list[dict]:
        columns = dict(label=self.labels.tolist(), score=self.scores.tolist(), box=self.boxes)
        if self.masks is not None:
            columns['mask'] = self.masks
        return [dict(zip(columns, values)) for values in zip(*columns.values())]


@dataclass(repr=False)
class Segmentation(Result):
    """The class of each pixel.

    Attributes:
        segmentation (np.ndarray): Class indices, int64 ``(height, width)``.
    """

    segmentation: np.ndarray

    def items(self) -> list[dict]:
        """Returns one segment per class, largest first; the score is the segment's fraction of the image area."""
        labels, counts = np.unique(self.segmentation[self.segmentation != IGNORED], return_counts=True)
        return [dict(label=int(labels[i]), score=float(counts[i] / self.segmentation.size),
                     mask=self.segmentation == labels[i]) for i in np.argsort(-counts, kind='stable')]

    def label_image(self) -> Image.Image:
        """Returns the class indices as an 8-bit image with a palette, for more than 256 classes as one of 16 bits."""
        if max(len(self.classes) - 1, self.segmentation.max(initial=0)) > 255:
            return Image.fromarray(self.segmentation.astype(np.uint16))
        image = Image.fromarray(self.segmentation.astype(np.uint8))
        image.putpalette(np.array([self.color(label) for label in range(256)], np.uint8).tobytes())
        return image


def result_of(outputs: dict[str, np.ndarray], source: str, image: np.ndarray, classes: list[str],
              palette: list[Color], score_thr: float = SCORE_THR) -> Result:
    """Converts a model's outputs for an image to a Result.

    Sorts objects by score, because Mask2Former does not, and drops those with scores below ``score_thr``.
    """
    about = source, image, classes, palette
    if 'segmentation' in outputs:
        return Segmentation(*about, outputs['segmentation'])
    if 'boxes' in outputs:
        order = np.argsort(-outputs['scores'], kind='stable')
        return Detection(*about, **{name: values[order] for name, values in outputs.items()}).from_score(score_thr)
    labels = np.argsort(-outputs['scores'], kind='stable')
    return Classification(*about, labels, outputs['scores'][labels])


def palette_of(metainfo: dict) -> list[Color]:
    """Returns the RGB colors of a dataset's classes; empty if the palette is missing, a name or of other classes.

    A data set of own classes inherits the palette of its type, e.g. the 80 colors of COCO.
    """
    palette = metainfo.get('palette')
    if palette is None or isinstance(palette, str) or len(palette) != len(metainfo.get('classes') or ()):
        return []
    return [(int(red), int(green), int(blue)) for red, green, blue in palette]


class _Pen:
    """Draws boxes and labels inside an image, and enlarges small images to keep the labels readable."""

    def __init__(self, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        length = math.sqrt(height * width)
        self.scale = math.ceil(MIN_DRAWING / length)
        self.size = round(self.scale * length / 40)
        self.height = round(1.3 * self.size)
        self.drawing = Image.fromarray(image).resize((self.scale * width, self.scale * height))
        self.draw = ImageDraw.Draw(self.drawing)

    def box(self, sides: np.ndarray, color: Color) -> None:
        x1, y1, x2, y2 = self.scale * sides
        self.draw.rectangle([x1, y1, max(x1, x2), max(y1, y2)], outline=color, width=max(2, self.size // 7))

    def label(self, name: str, font: str, score: str, color: Color, sides: np.ndarray | None, row: int) -> None:
        """Draws a label at a box with these ``sides``, or else in a row of the list in the top left corner.

        Of a name that is wider than the image, only the beginning is drawn.
        """
        letters = ImageFont.truetype(font, self.size)
        text = f' {name}{score} '
        while letters.getlength(text) > self.drawing.width and name:
            name = name[:-1]
            text = f' {name}...{score} '
        length = math.ceil(letters.getlength(text))
        x, y = (0, row * self.height) if sides is None else self.scale * sides[:2] - (0, self.height)
        x, y = np.clip((x, y), 0, np.maximum(np.subtract(self.drawing.size, (length, self.height)), 0)).tolist()
        red, green, blue = color
        is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 140
        self.draw.rectangle([x, y, x + length - 1, y + self.height - 1], fill=color)
        self.draw.text((x, y), text, 'white' if is_dark else 'black', letters)


def written(name: str, number: int) -> tuple[str, str]:
    """Returns the name of a class and the file of a font for it; without such a font, its number."""
    font = font_for(name)
    return name if font else str(number), font or default_font()


def write_table(path: Path, rows: Iterable[Sequence]) -> None:
    """Writes a CSV file, perhaps to a new folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_complete(path) as part, open(part, 'w', encoding='utf-8', newline='') as file:
        csv.writer(file).writerows(rows)


def run_lengths(mask: np.ndarray) -> dict:
    """Encodes a mask ``(height, width)`` as COCO RLE, a dict with ``size`` and ``counts``."""
    from pycocotools.mask import encode
    encoded = encode(np.asfortranarray(mask, np.uint8))
    counts = encoded['counts']
    return dict(size=encoded['size'], counts=counts.decode() if isinstance(counts, bytes) else counts)


def outlines_of(mask: np.ndarray) -> list[list[float]]:
    """Returns the polygons ``[x1, y1, x2, y2, ...]`` around a mask, with a cut to each hole, around it and back.

    They run a quarter of a pixel inside of the mask, so that pycocotools makes the same mask of them. Of run lengths,
    which COCO has for holes, Label Studio's converter takes none.
    """
    import cv2
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, levels = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = {number: contour[:, 0] for number, contour in enumerate(contours)}
    for number, around in enumerate(levels[0, :, 3]):
        if around >= 0:  # the number of the outline around a hole
            outlines[around] = with_hole(outlines[around], outlines.pop(number))
    largest_first = sorted(outlines.values(), key=cv2.contourArea, reverse=True)  # Label Studio takes the first one
    return [((outline.flatten() + 0.5) / 2).tolist() for outline in largest_first]


def with_hole(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    distances = ((outline[:, None] - hole)**2).sum(-1)
    start, end = np.unravel_index(distances.argmin(), distances.shape)
    return np.concatenate([outline[:start + 1], hole[end:], hole[:end + 1], outline[start:]])
