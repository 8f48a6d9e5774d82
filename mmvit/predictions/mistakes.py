"""Finds the images of a test in which a model errs most, and which classes it takes for which."""
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MessageHub

from mmvit_backbones.utils.file_access import replaced_when_complete

from ..folders.images import IGNORED, read_rgb
from ..frameworks import task_of
from ..frameworks.tasks import CLASSIFIER, DETECTOR
from ..utils.faults import quiet
from ..utils.shell import short_path
from .confusion import draw_confusion, draw_pairs
from .results import MIN_DRAWING, SCORE_THR, Classification, Detection, Segmentation, palette_of, write_table

FILES = 'mistakes.jpg', 'mistakes.csv', 'confusion.png', 'confusion.csv'
SHOWN = 12  # images in the picture
IOU = 0.5  # of boxes that match
SCORE = 'score_thr'  # key in MMEngine's message hub, and so in checkpoints, of a detector's score


@dataclass(slots=True)
class Row:
    """What is known of a tested image.

    Args:
        path (str): The image.
        error (tuple[float, ...]): How wrong the model is; the first number is 0 without an error.
        values (tuple): What the table says.
        cells (np.ndarray): Labels of the truth and of the prediction, and how often they meet, integers ``(N, 3)``.
        outputs (Sequence[dict]): Fields of the results for the truth and the prediction; none if other images have more
            errors.
    """

    path: str
    error: tuple[float, ...]
    values: tuple
    cells: np.ndarray
    outputs: Sequence[dict]


def sort_rows(rows: Iterable[Row | None]) -> list[Row]:
    """Returns rows, the worst first, and takes the outputs of those that are not drawn."""
    ordered = sorted(filter(None, rows), key=lambda row: row.error, reverse=True)
    for row in ordered[SHOWN:]:
        row.outputs = ()
    return ordered


class Mistakes(BaseMetric):
    """Collects a row for each image of a test, and no figures.

    MMEngine gathers the rows of all processes, and leaves out repeated images.

    Attributes:
        lines (list[str]): What a person reads of the files that were written.
    """

    default_prefix = about = ''
    kind: Any  # of results
    truth = ''  # key of samples
    columns: tuple[str, ...] = ()  # of the table, after the image
    outside: tuple[str, ...] = ()  # names of the prediction for an object, and of the truth for a box, if there is none
    rows: Sequence[Row] = ()
    lines: Sequence[str] = ()

    @property
    def classes(self) -> list[str]:
        return list((self.dataset_meta or {})['classes'])

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        rows = [self.compare(sample) if self.truth in sample else None for sample in data_samples]
        self.worst = sort_rows([*rows, *(self.worst if self.results else ())])[:SHOWN]
        self.results += rows

    def compare(self, sample: dict) -> Row | None:
        """Returns the row of an image; None if it has no label."""
        raise NotImplementedError

    def compute_metrics(self, results: list) -> dict[str, float]:
        self.rows = sort_rows(results)
        return {}

    def write(self, folder: str | Path, source: str) -> None:
        """Writes ``FILES``, or none without an error, to a folder; ``source`` says in the pictures what was tested."""
        files, shown = [Path(folder, name) for name in FILES], [row for row in self.rows[:SHOWN] if row.error[0] > 0]
        if not shown:
            for file in files:
                file.unlink(missing_ok=True)
            self.lines = ['mistakes    no image with an error'] if self.rows else []
            return
        side, title = len(self.classes) + bool(self.outside), f'{source}{self.about}'
        truths, found, counts = np.concatenate([row.cells for row in self.rows]).T
        matrix = np.bincount(truths * side + found, counts, side**2).astype(int).reshape(side, side)
        write_table(files[1], [('image', *self.columns), *((row.path, *row.values) for row in self.rows)])
        write_table(files[3], [('truth / prediction', *self.classes, *self.outside[:1]),
                               *zip([*self.classes, *self.outside[1:]], *matrix.T)])
        with replaced_when_complete(files[0]) as part:
            draw_pairs([self.results_of(row) for row in shown], f'{title}: the {len(shown)} of {len(self.rows)} images '
                       'with the most errors; truth left, prediction right').save(part, quality=90)
        with replaced_when_complete(files[2]) as part:
            draw_confusion(matrix, self.classes, self.outside, title).savefig(part, bbox_inches='tight')
        names = [short_path(str(file)) for file in files]
        self.lines = [f'mistakes    {names[0]}{self.about}; all images: {names[1]}', f'confusion   {names[2]}']

    def results_of(self, row: Row) -> tuple[list, str]:
        """Returns the results of the truth and of the prediction in an image, and a line about it."""
        image = read_rgb(row.path)
        if self.kind is Segmentation:
            image = image.resize(row.outputs[0]['segmentation'].shape[::-1])
        about = row.path, np.array(image), self.classes, palette_of(self.dataset_meta or {})
        text = ', '.join(f'{column} {value}' for column, value in zip(self.columns, row.values))
        return [self.kind(*about, **fields) for fields in row.outputs], f'{Path(row.path).name}: {text}'


class ClassMistakes(Mistakes):
    """Those of a classifier, by the negative logarithm of the score of the true class."""

    kind, truth = Classification, 'gt_label'
    columns = 'truth', 'prediction', 'score', 'loss'

    def compare(self, sample: dict) -> Row:
        scores, truth = sample['pred_score'].float().cpu().numpy(), int(sample['gt_label'])
        best = np.argsort(-scores, kind='stable')[:Classification.count]
        found, loss = int(best[0]), -math.log(max(scores[truth], np.finfo(np.float32).tiny))
        return Row(sample['img_path'], (found != truth, loss),
                   (self.classes[truth], self.classes[found], round(float(scores[found]), 4), round(loss, 4)),
                   np.array([[truth, found, 1]]),
                   [dict(labels=np.array([truth]), scores=np.ones(1)), dict(labels=best, scores=scores[best])])


class SegmentMistakes(Mistakes):
    """Those of a segmenter, by the mean IoU of the classes that an image has."""

    kind, truth = Segmentation, 'gt_sem_seg'
    columns = 'mIoU, %', 'wrong pixels, %'

    def compare(self, sample: dict) -> Row | None:
        side, found = len(self.classes), sample['pred_sem_seg']['data'].squeeze(0)
        truth = sample['gt_sem_seg']['data'].squeeze(0).to(found)
        counts = (side * truth + found)[truth != IGNORED].bincount(minlength=side**2).reshape(side, side).cpu().numpy()
        if not counts.any():
            return None
        hits, pixels = counts.diagonal(), counts.sum(1)
        iou = float((hits / np.maximum(pixels + counts.sum(0) - hits, 1))[pixels > 0].mean())
        step = max(1, int(math.sqrt(found.numel()) / MIN_DRAWING))  # of pixels, as many as are drawn
        return Row(sample['img_path'], (1 - iou, ),
                   (round(100 * iou, 2), round(100 * float(1 - hits.sum() / pixels.sum()), 2)),
                   np.stack([*counts.nonzero(), counts[counts > 0]], 1).astype(np.int32),
                   [dict(segmentation=labels[::step, ::step].byte().cpu().numpy()) for labels in (truth, found)])


class ObjectMistakes(Mistakes):
    """Those of a detector: boxes that match at an IoU of 0.5, from the score of the best F1 on.

    Args:
        coco (Any): mmdet's metric, which has the truth, and what was found in each image.
    """

    kind = Detection
    columns = 'found', 'confused', 'missed', 'false', 'F1'
    outside = 'missed', 'false'

    def __init__(self, coco: Any) -> None:
        super().__init__()
        self.coco = coco

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample, (_, found) in zip(data_samples, self.coco.results[-len(data_samples):]):
            self.results.append((sample['img_path'], *(found[key] for key in ('img_id', 'labels', 'scores', 'bboxes'))))

    def compute_metrics(self, results: list) -> dict[str, float]:
        coco, objects, boxes = self.coco._coco_api, {}, {}
        categories = coco.get_cat_ids(cat_names=self.classes)
        for _, image, *columns in results:
            objects[image] = [each for each in coco.imgToAnns[image]
                              if each['category_id'] in categories and not each.get('iscrowd')]
            boxes[image] = [dict(image_id=image, category_id=categories[label], score=round(score, 6),
                                 bbox=[x1, y1, x2 - x1, y2 - y1])
                            for label, score, (x1, y1, x2, y2) in zip(*(values.tolist() for values in columns))]
        found = match(coco, list(chain(*boxes.values())), list(objects), categories)
        threshold = best_score(found, sum(map(len, objects.values())))
        MessageHub.get_current_instance().update_info(SCORE, threshold)
        self.about = f' (--score-thr {threshold:g})'
        labels = {category: label for label, category in enumerate(categories)}
        return super().compute_metrics([
            compare_boxes(path, objects[image], [box for box in boxes[image] if 'object' in box
                                                 and box['score'] >= threshold], labels)
            for path, image, *_ in results])


def compare_boxes(path: str, objects: list[dict], boxes: list[dict], labels: dict[int, int]) -> Row:
    """Returns the row of an image, of its objects and the boxes that count; ``labels`` are those of categories."""
    from pycocotools.mask import iou
    partners = {box['object']: box for box in boxes if box['object']}
    lost = [each for each in objects if each['id'] not in partners]
    rest = [box for box in boxes if not box['object']]
    first, second = (np.array([each['bbox'] for each in part], float) for part in (rest, lost))
    overlaps = np.asarray(iou(first, second, [0] * len(lost)))
    while overlaps.size and overlaps.max() >= IOU:  # of other classes, those that overlap most first
        box, other = np.unravel_index(overlaps.argmax(), overlaps.shape)
        rest[box]['object'] = lost[other]['id']
        partners[lost[other]['id']] = rest[box]
        overlaps[box], overlaps[:, other] = 0, 0
    nothing, false = dict(category_id=None), [box for box in boxes if not box['object']]
    pairs = [*((each, partners.get(each['id'], nothing)) for each in objects), *((nothing, box) for box in false)]
    cells = np.array([(*(labels.get(each['category_id'], len(labels)) for each in pair), 1) for pair in pairs], int)
    cells = cells.reshape(-1, 3)
    found = int((cells[:, 0] == cells[:, 1]).sum())
    return Row(path, (len(cells) - found, sum(box['score'] for box in false)),
               (found, len(partners) - found, len(objects) - len(partners), len(false),
                round(2 * found / max(len(objects) + len(boxes), 1), 4)), cells,
               [fields_of(part, labels) for part in (objects, boxes)])


def fields_of(boxes: list[dict], labels: dict[int, int]) -> dict[str, np.ndarray]:
    """Returns the fields of a result; objects have no score."""
    sides = np.array([box['bbox'] for box in boxes], float).reshape(-1, 4)
    sides[:, 2:] += sides[:, :2]
    return dict(labels=np.array([labels[box['category_id']] for box in boxes], int),
                scores=np.array([box.get('score', 1.) for box in boxes]), boxes=sides)


def add_mistakes(cfg: Config, evaluator: Evaluator) -> Mistakes | None:
    """Adds a metric to the evaluator of a test of a network and a folder, and returns it.

    None for other configs, for test-time augmentation, and without labels.
    """
    if 'recipe' not in cfg or 'module' in cfg.model:
        return None
    task, metrics = task_of(cfg), [getattr(each, 'metric', each) for each in evaluator.metrics]
    of_boxes = [each for each in metrics if getattr(each, '_coco_api', None)]
    if any(getattr(each, 'format_only', False) for each in metrics) or task == DETECTOR and not of_boxes:
        return None
    if task == DETECTOR:
        found: Mistakes = ObjectMistakes(of_boxes[0])
    else:
        found = ClassMistakes() if task == CLASSIFIER else SegmentMistakes()
    evaluator.metrics.append(found)
    return found


def match(coco: Any, boxes: list[dict], images: list[int], categories: list[int]) -> list[dict]:
    """Returns boxes that count, with the ids of the objects that they match in pycocotools as ``object``, or 0."""
    from pycocotools.cocoeval import COCOeval
    if not boxes:
        return []
    with quiet():
        evaluation = COCOeval(coco, coco.loadRes(boxes), 'bbox')
        evaluation.params.imgIds, evaluation.params.catIds = images, categories
        evaluation.params.iouThrs, evaluation.params.maxDets = np.array([IOU]), [len(boxes)]
        evaluation.params.areaRng = [[0, math.inf]]
        evaluation.evaluate()
    for each in filter(None, evaluation.evalImgs):
        for number, found, is_ignored in zip(each['dtIds'], each['dtMatches'][0], each['dtIgnore'][0]):
            if not is_ignored:
                boxes[number - 1]['object'] = int(found)
    return [box for box in boxes if 'object' in box]


def best_score(boxes: list[dict], objects: int) -> float:
    """Returns the score, in hundredths, from which on the F1 of boxes is best, or the default if none is found."""
    steps = np.array([int(100 * box['score'] + 1e-5) for box in boxes], int)
    is_found = np.array([box['object'] > 0 for box in boxes], bool)
    found, kept = (np.bincount(part, minlength=101)[::-1].cumsum() for part in (steps[is_found], steps))
    return float(100 - (found / (kept + objects)).argmax()) / 100 if found.any() else SCORE_THR
