"""COCO's average precision and recall for more detections of a class in an image than 100."""
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..errors import UsageError


@METRICS.register_module()
class CocoMetricAt(BaseMetric):
    """Computes COCO's mAP and average recall of boxes and masks with up to ``max_dets`` detections per class and image.

    COCO's mAP, as of mmdet's ``CocoMetric``, counts the 100 best detections of each class in an image, however many a
    detector returns. The names of these figures have the number, such as ``coco/bbox_mAP@300`` and
    ``coco/bbox_AR@300``; they are means over the classes and the IoU thresholds 0.5, 0.55, ..., 0.95, and -1 if there
    are no objects.

    Args:
        ann_file (str): COCO file of the images.
        max_dets (int): Number of detections of each class in an image that count; those with the highest scores.
        metric (Sequence[str]): Any of 'bbox' and 'segm'. Defaults to ('bbox', ).
        **kwargs: Arguments of MMEngine's ``BaseMetric``.

    Raises:
        UsageError: If a class of the data set is not in the file.

    Example:
        >>> val_evaluator = [
        ...     dict(type='CocoMetric', ann_file='annotations/instances_val.json', metric=['bbox', 'segm']),
        ...     dict(type='CocoMetricAt', ann_file='annotations/instances_val.json', metric=['bbox', 'segm'],
        ...          max_dets=300)]
    """

    default_prefix = 'coco'

    def __init__(self, ann_file: str, max_dets: int,
                 metric: Sequence[Literal['bbox', 'segm']] = ('bbox', ), **kwargs) -> None:
        super().__init__(**kwargs)
        self.ann_file, self.max_dets, self.metrics = ann_file, max_dets, tuple(metric)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            found = sample['pred_instances']
            result = dict(image=sample['img_id'], boxes=found['bboxes'].cpu().numpy(),
                          labels=found['labels'].cpu().numpy(), scores=found['scores'].cpu().numpy())
            if 'segm' in self.metrics:
                result.update(masks=encoded(found['masks']),
                              mask_scores=found.get('mask_scores', found['scores']).cpu().numpy())
            self.results.append(result)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
        coco = COCO(self.ann_file)
        ids = {category['name']: category['id'] for category in coco.dataset['categories']}
        classes = (self.dataset_meta or {})['classes']
        if missing := [name for name in classes if name not in ids]:
            raise UsageError(f'ann_file must have all classes of the data set; {self.ann_file} has '
                             f'{", ".join(ids)}, but not {", ".join(missing)}')
        categories = [ids[name] for name in classes]
        figures = {}
        for metric in self.metrics:
            detections = [detection for result in results for detection in detections_of(result, categories, metric)]
            has_objects = coco.getAnnIds(catIds=categories, iscrowd=False)
            precision = recall = np.zeros(1 if has_objects else 0)
            if detections:  # else, pycocotools fails
                results_of: Any = coco.loadRes  # whose annotation allows only files
                evaluation = COCOeval(coco, results_of(detections), metric)
                evaluation.params.catIds, evaluation.params.maxDets = categories, [self.max_dets]
                evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ['all']
                evaluation.evaluate()
                evaluation.accumulate()
                precision, recall = evaluation.eval['precision'], evaluation.eval['recall']
            for name, values in (('mAP', precision), ('AR', recall)):
                of_classes = values[values > -1]  # classes without objects have -1
                figures[f'{metric}_{name}@{self.max_dets}'] = round(float(of_classes.mean()), 3) if of_classes.size \
                    else -1.
        return figures


def encoded(masks: torch.Tensor | list[dict]) -> list[dict]:
    """Returns masks ``(N, height, width)`` as run lengths; mmdet may have encoded them."""
    if not isinstance(masks, torch.Tensor):
        return masks
    from mmdet.structures.mask import encode_mask_results
    return encode_mask_results(masks.cpu().numpy())


def detections_of(result: dict, categories: Sequence[int], metric: str) -> list[dict]:
    """Returns the detections in an image in COCO's format."""
    scores = result['mask_scores'] if metric == 'segm' else result['scores']
    if metric == 'segm':  # without boxes, so that pycocotools takes the areas of the masks
        places = [dict(segmentation=mask) for mask in result['masks']]
    else:
        places = [dict(bbox=[x1, y1, x2 - x1, y2 - y1]) for x1, y1, x2, y2 in result['boxes'].tolist()]
    return [dict(image_id=result['image'], category_id=categories[label], score=score, **place)
            for label, score, place in zip(result['labels'].tolist(), scores.tolist(), places)]
