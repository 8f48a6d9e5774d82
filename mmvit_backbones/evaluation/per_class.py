"""Accuracy of a classifier for each class."""
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

SHOWN = 50  # maximum number of classes in the log


@METRICS.register_module()
class PerClassAccuracy(BaseMetric):
    """Computes ``mean_class_accuracy`` in percent, and logs the accuracy by class.

    At most 50 classes are logged, namely those with the lowest accuracy. mmpretrain's ``ConfusionMatrix`` tells which
    classes are taken for which.
    """

    default_prefix = ''

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [(int(sample['pred_score'].argmax()), int(sample['gt_label']), len(sample['pred_score']))
                         for sample in data_samples]

    def compute_metrics(self, results: list[tuple[int, int, int]]) -> dict[str, float]:
        predicted, labels, (num_classes, *_) = map(np.array, zip(*results))
        names = list((self.dataset_meta or {}).get('classes') or range(num_classes))
        counts, hits = (np.bincount(each, minlength=num_classes) for each in (labels, labels[labels == predicted]))
        accuracy = 100 * hits / np.maximum(counts, 1)
        present = np.flatnonzero(counts)
        listed = present if len(present) <= SHOWN else present[np.argsort(accuracy[present])][:SHOWN]
        print_log('accuracy by class:\n' + '\n'.join(
            f'{accuracy[i]:6.1f} %  {hits[i]} of {counts[i]}  {names[i]}' for i in listed), 'current')
        return dict(mean_class_accuracy=float(accuracy[present].mean()))
