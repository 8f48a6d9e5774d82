"""COCO's metrics of a detector that may not have found anything yet."""
import json
import logging
import os.path as osp
from collections.abc import Sequence
from copy import copy
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

TABLES = dict(bbox='average precision of boxes', segm='average precision of masks')


@METRICS.register_module()
class CocoMetricFromZero(BaseMetric):
    """Computes the figures of mmdet's ``CocoMetric``, also if no object was found in any image, where it has none.

    A figure is 0 then where there are objects of the size, and as always in pycocotools -1 where there are none. With
    ``classwise=True``, the classes that have objects are listed, and their figures have the names
    ``bbox_CLASS_precision`` and ``segm_CLASS_precision``.

    COCO's mAP counts the 100 best detections of each class in an image, however many a detector returns. With
    ``max_dets=300``, there are ``bbox_mAP@300`` and ``bbox_AR@300``, too: mAP and average recall of up to 300.

    Args:
        max_dets (int | None): Number of detections of each class in an image that count in further figures. Defaults to
            None: there are no such figures.
        collect_device, prefix, collect_dir: As in MMEngine's ``BaseMetric``.
        **options: Further arguments of ``CocoMetric``.

    Example:
        >>> val_evaluator = dict(type='CocoMetricFromZero', ann_file='annotations/instances_val.json', metric='bbox')
    """

    default_prefix = 'coco'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None, collect_dir: str | None = None,
                 max_dets: int | None = None, **options) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.max_dets = max_dets
        self.metric: Any = METRICS.build(dict(type='mmdet.CocoMetric', **options))
        self.results = self.metric.results

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.metric.process(data_batch, data_samples)

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        self.metric.dataset_meta = self.dataset_meta
        if self.metric.format_only:
            return self.metric.compute_metrics(results)
        figures, files, prefix = {}, {}, self.metric.outfile_prefix
        with TemporaryDirectory() as folder:
            if not any(len(found['labels']) for _, found in results):
                print_log(f'no object was found in {len(results)} images', 'current', logging.WARNING)
                if prefix:
                    self.metric.results2json([found for _, found in results], prefix)
                prefix, results = None, [(truth, with_miss(found, truth)) for truth, found in results[:1]]
            for kind in self.metric.metrics:  # one by one, as mmdet gives figures of classes one name for all
                if about := self.metric.classwise and TABLES.get(kind):
                    print_log(f'per class, {about}:', 'current')
                metric = copy(self.metric)
                metric.metrics, metric.outfile_prefix = [kind], prefix or osp.join(folder, 'results')
                metric.results2json = partial(_write_once, metric, files)
                for name, figure in metric.compute_metrics(results).items():
                    name = f'{kind}_{name}' if name.endswith('_precision') else name
                    figures[name] = -1. if np.isnan(figure) else float(figure)
                if self.max_dets:
                    figures |= evaluate_at(metric, files[kind], kind, self.max_dets)
        return figures


def _write_once(metric: Any, files: dict[str, str], found: Sequence[dict], prefix: str) -> dict[str, str]:
    """Returns the files of detections, written if there are none; then, mmdet's metric takes the classes with objects.

    Those without objects change no other figure.
    """
    if not files:
        files.update(type(metric).results2json(metric, found, prefix))
    used = {truth['category_id'] for truth in metric._coco_api.dataset['annotations'] if not truth.get('iscrowd')}
    metric.cat_ids = [number for number in metric.cat_ids if number in used] or metric.cat_ids
    return files


def evaluate_at(metric: Any, file: str, kind: Literal['bbox', 'segm'], max_dets: int) -> dict[str, float]:
    """Returns mAP and average recall of the detections in a file, of which ``max_dets`` per class and image count."""
    from pycocotools.cocoeval import COCOeval
    found = json.loads(Path(file).read_text(encoding='utf-8'))
    if kind == 'segm':  # without boxes, so that pycocotools takes the areas of the masks
        found = [{name: value for name, value in each.items() if name != 'bbox'} for each in found]
    evaluation = COCOeval(metric._coco_api, metric._coco_api.loadRes(found), kind)
    evaluation.params.catIds, evaluation.params.maxDets = metric.cat_ids, [max_dets]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ['all']
    evaluation.evaluate()
    evaluation.accumulate()
    values = {name: evaluation.eval[key] for name, key in dict(mAP='precision', AR='recall').items()}
    return {f'{kind}_{name}@{max_dets}': round(float(each[each > -1].mean()), 3) if (each > -1).any() else -1.
            for name, each in values.items()}  # -1: of classes without objects


def with_miss(found: dict, truth: dict) -> dict:
    """Returns what was found in an image with an object outside of it, which equals no other one."""
    from mmdet.structures.mask import encode_mask_results
    masks = encode_mask_results(np.zeros((1, truth['height'], truth['width']), dtype=bool))
    return {**found, 'bboxes': np.array([[-2., -2., -1., -1.]]), 'labels': np.zeros(1, int), 'masks': masks,
            'scores': np.zeros(1), 'mask_scores': np.zeros(1)}
