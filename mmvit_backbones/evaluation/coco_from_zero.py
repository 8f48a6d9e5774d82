"""COCO's metrics of a detector that may not have found anything yet."""
import logging
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS


@METRICS.register_module()
class CocoMetricFromZero(BaseMetric):
    """Computes the figures of mmdet's ``CocoMetric``, also if no object was found in any image, where it has none.

    A figure is 0 then where there are objects of the class or size, and as always in pycocotools -1 where there are
    none.

    Args:
        collect_device, prefix, collect_dir: As in MMEngine's ``BaseMetric``.
        **options: Further arguments of ``CocoMetric``.

    Example:
        >>> val_evaluator = dict(type='CocoMetricFromZero', ann_file='annotations/instances_val.json', metric='bbox')
    """

    default_prefix = 'coco'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None, collect_dir: str | None = None,
                 **options) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        self.metric: Any = METRICS.build(dict(type='mmdet.CocoMetric', **options))
        self.results = self.metric.results

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.metric.process(data_batch, data_samples)

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        self.metric.dataset_meta = self.dataset_meta
        metric = self.metric
        if not metric.format_only and not any(len(found['labels']) for _, found in results):
            print_log(f'no object was found in {len(results)} images', 'current', logging.WARNING)
            if metric.outfile_prefix:
                metric.results2json([found for _, found in results], metric.outfile_prefix)
            metric = copy(metric)
            metric.outfile_prefix = None
            results = [(truth, with_miss(found, truth)) for truth, found in results[:1]]
        figures = metric.compute_metrics(results)
        return {name: -1. if np.isnan(figure) else float(figure) for name, figure in figures.items()}


def with_miss(found: dict, truth: dict) -> dict:
    """Returns what was found in an image with an object outside of it, which equals no other one."""
    from mmdet.structures.mask import encode_mask_results
    masks = encode_mask_results(np.zeros((1, truth['height'], truth['width']), dtype=bool))
    return {**found, 'bboxes': np.array([[-2., -2., -1., -1.]]), 'labels': np.zeros(1, int), 'masks': masks,
            'scores': np.zeros(1), 'mask_scores': np.zeros(1)}
