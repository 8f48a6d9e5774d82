"""Finds the images of a test in which a model errs most, and which classes it takes for which."""
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import MessageHub

from mmvit_backbones.utils.file_access import replaced_when_complete

from ..folders.images import IGNORED, read_rgb
from ..frameworks import task_of
from ..frameworks.tasks import CLASSIFIER, DETECTOR
from ..utils.faults import quiet
from ..utils.shell import short_path
from .confusion import draw_confusion, draw_results
from .results import MIN_DRAWING, SCORE_THR, Classification, Detection, Segmentation, palette_of, write_table

FILES = 'mistakes.jpg', 'mistakes.csv', 'confusion.png', 'confusion.csv'
SHOWN = 12  # images in the picture
IOU = 0.5  # of boxes that match
LEFT_OUT = -1  # of boxes: those on a crowd, and those of lower scores
SCORE = 'score_thr'  # key in MMEngine's message hub, and so in checkpoints, of a detector's score


@dataclass(slots=True)
class Row:
    """What is known of a tested image.

    Args:
        path (str): The image.
        error (tuple[float, ...]): How wrong the model is; the first number is 0 without an error.
        values (tuple): What the table says.
        cells (np.ndarray): Numbers of cells of the matrix, and what is counted in them, ``(2, N)``.
        outputs (Sequence[dict]): Fields of the results that are drawn: the truth, if it is drawn, and the prediction.
            None if other images have more errors.
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

    @property
    def side(self) -> int:
        """Returns the number of rows and columns of the matrix."""
        return len(self.classes) + bool(self.outside)

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
        title, drawn = f'{source}{self.about}', len(shown[0].outputs)
        about = f'{title}: the {len(shown)} of {len(self.rows)} images with the most errors'
        cells, counts = np.concatenate([row.cells for row in self.rows], 1)
        matrix = np.bincount(cells, counts, self.side**2).astype(int).reshape(self.side, self.side)
        write_table(files[1], [('image', *self.columns), *((row.path, *row.values) for row in self.rows)])
        write_table(files[3], [('truth / prediction', *self.classes, *self.outside[:1]),
                               *zip([*self.classes, *self.outside[1:]], *matrix.T)])
        with replaced_when_complete(files[0]) as part:
            draw_results(map(self.results_of, shown), drawn * len(shown), about if drawn == 1 else
                         f'{about}; truth left, prediction right').save(part, quality=90)
        with replaced_when_complete(files[2]) as part:
            draw_confusion(matrix, self.classes, self.outside, title).savefig(part, bbox_inches='tight')
        names = [short_path(str(file)) for file in files]
        self.lines = [f'mistakes    {names[0]}{self.about}; all images: {names[1]}', f'confusion   {names[2]}']

    def results_of(self, row: Row) -> tuple[list, str]:
        """Returns the results of an image that are drawn, and two lines about it."""
        image = read_rgb(row.path)
        if self.kind is Segmentation:
            image = image.resize(row.outputs[0]['segmentation'].shape[::-1])
        about = row.path, np.array(image), self.classes, palette_of(self.dataset_meta or {})
        text = ', '.join(f'{column} {value}' for column, value in zip(self.columns, row.values))
        return [self.kind(*about, **fields) for fields in row.outputs], f'{Path(row.path).name}\n{text}'


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
                   np.array([[self.side * truth + found], [1]]), [dict(labels=best, scores=scores[best])])


class SegmentMistakes(Mistakes):
    """Those of a segmenter, by the mean IoU of the classes that an image has."""

    kind, truth = Segmentation, 'gt_sem_seg'
    columns = 'mIoU, %', 'wrong pixels, %'

    def compare(self, sample: dict) -> Row | None:
        found = sample['pred_sem_seg']['data'].squeeze(0)
        truth = sample['gt_sem_seg']['data'].squeeze(0).to(found)
        cells = (self.side * truth + found)[truth != IGNORED].bincount(minlength=self.side**2).cpu().numpy()
        if not cells.any():
            return None
        counts = cells.reshape(self.side, self.side)
        hits, pixels = counts.diagonal(), counts.sum(1)
        iou = float((hits / np.maximum(pixels + counts.sum(0) - hits, 1))[pixels > 0].mean())
        step = max(1, int(math.sqrt(found.numel()) / MIN_DRAWING))  # of pixels, as many as are drawn
        return Row(sample['img_path'], (1 - iou, ),
                   (round(100 * iou, 2), round(100 * float(1 - hits.sum() / pixels.sum()), 2)),
                   np.stack([cells.nonzero()[0], cells[cells > 0]]).astype(np.int32),
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
        coco = self.coco._coco_api
        categories = coco.get_cat_ids(cat_names=self.classes)
        paths, images, *columns = zip(*results)
        labels, scores, sides = map(np.concatenate, columns)
        ends = np.cumsum([len(part) for part in columns[0]])
        objects = [coco.loadAnns(coco.getAnnIds([image], categories, iscrowd=False)) for image in images]
        x, y, right, bottom = sides.astype(float).T
        matches = match(coco, np.column_stack([np.repeat(images, np.diff(ends, prepend=0)), x, y, right - x, bottom - y,
                                               scores, np.array(categories)[labels]]), images, categories)
        counts = matches != LEFT_OUT
        threshold = best_score(scores[counts], matches[counts] > 0, sum(map(len, objects)))
        counts &= scores >= np.float32(threshold)
        MessageHub.get_current_instance().update_info(SCORE, threshold)
        self.about = f' (--score-thr {threshold:g})'
        rows, worst = [], []
        for path, truths, part in zip(paths, objects, np.split(np.arange(len(matches)), ends[:-1])):
            part = part[counts[part]]
            found = dict(labels=labels[part], scores=scores[part], boxes=sides[part])
            rows.append(compare_boxes(path, truths, categories, found, matches[part]))
            worst = sort_rows([*worst, rows[-1]])[:SHOWN]
        return super().compute_metrics(rows)


def match(coco: Any, boxes: np.ndarray, images: Sequence[int], categories: list[int]) -> np.ndarray:
    """Returns the id of the object that each box matches in pycocotools, 0 without one; ``LEFT_OUT`` on a crowd."""
    from pycocotools.cocoeval import COCOeval
    matches = np.full(len(boxes), LEFT_OUT)
    if not len(boxes):
        return matches
    with quiet():
        evaluation = COCOeval(coco, coco.loadRes(boxes), 'bbox')
        evaluation.params.imgIds, evaluation.params.catIds = list(images), categories
        evaluation.params.iouThrs, evaluation.params.maxDets = np.array([IOU]), [len(boxes)]
        evaluation.params.areaRng = [[0, math.inf]]
        evaluation.evaluate()
    for each in filter(None, evaluation.evalImgs):
        matches[np.array(each['dtIds'], int) - 1] = np.where(each['dtIgnore'][0], LEFT_OUT, each['dtMatches'][0])
    return matches


def best_score(scores: np.ndarray, is_found: np.ndarray, objects: int) -> float:
    """Returns the score, in hundredths, from which on the F1 of boxes is best, or the default if none is found."""
    levels = [*np.linspace(0, 1, 101, dtype=np.float32), math.inf]
    found, kept = (np.histogram(part, levels)[0][::-1].cumsum() for part in (scores[is_found], scores))
    return float(100 - (found / (kept + objects)).argmax()) / 100 if found.any() else SCORE_THR


def compare_boxes(path: str, objects: list[dict], categories: list[int], boxes: dict[str, np.ndarray],
                  matches: np.ndarray) -> Row:
    """Returns the row of an image, of its objects and of the boxes that count, with what they match."""
    from torchvision.ops import box_iou
    sides = np.array([each['bbox'] for each in objects], float).reshape(-1, 4)
    sides[:, 2:] += sides[:, :2]
    truth = dict(labels=np.array([categories.index(each['category_id']) for each in objects], int),
                 scores=np.ones(len(objects)), boxes=sides)
    ids, nothing = np.array([each['id'] for each in objects], int), len(categories)
    rest, lost = (matches == 0).nonzero()[0], (~np.isin(ids, matches)).nonzero()[0]
    overlaps = box_iou(torch.from_numpy(boxes['boxes'][rest]), torch.from_numpy(sides[lost])).numpy()
    while overlaps.size and overlaps.max() >= IOU:  # of other classes, those that overlap most first
        box, other = np.unravel_index(overlaps.argmax(), overlaps.shape)
        matches[rest[box]] = ids[lost[other]]
        overlaps[box], overlaps[:, other] = 0, 0
    labels, is_false = dict(zip(matches.tolist(), boxes['labels'])), matches == 0
    truths = np.append(truth['labels'], np.full(is_false.sum(), nothing))
    found = np.append([labels.get(number, nothing) for number in ids.tolist()], boxes['labels'][is_false]).astype(int)
    hits, missed, false = ((truths == found).sum(), (found == nothing).sum(), is_false.sum())
    return Row(path, (len(truths) - hits, boxes['scores'][is_false].sum()),
               (hits, len(truths) - hits - missed - false, missed, false,
                round(2 * hits / max(len(objects) + len(matches), 1), 4)),
               np.stack(np.unique((nothing + 1) * truths + found, return_counts=True)), [truth, boxes])


def add_mistakes(cfg: Config, evaluator: Evaluator) -> Mistakes | None:
    """Adds a metric to the evaluator of a test of a network and a folder, and returns it.

    None for other configs, for test-time augmentation, and without labels.
    """
    metrics = [getattr(each, 'metric', each) for each in evaluator.metrics]
    if 'recipe' not in cfg or 'module' in cfg.model or any(getattr(each, 'format_only', False) for each in metrics):
        return None
    task, of_boxes = task_of(cfg), [each for each in metrics if getattr(each, '_coco_api', None)]
    if task == DETECTOR and not of_boxes:
        return None
    if task == DETECTOR:
        found: Mistakes = ObjectMistakes(of_boxes[0])
    else:
        found = ClassMistakes() if task == CLASSIFIER else SegmentMistakes()
    evaluator.metrics.append(found)
    return found
