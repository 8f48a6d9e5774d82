"""Accuracy on ImageNet-V2, -A, -R, -Sketch and -C."""
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

# AlexNet's error in percent for each corruption, from "Benchmarking Neural Network Robustness to Common Corruptions and
# Perturbations" (Hendrycks and Dietterich, ICLR 2019), github.com/hendrycks/robustness.
ALEXNET_ERRORS = dict(
    gaussian_noise=88.6428, shot_noise=89.4468, impulse_noise=92.2640, defocus_blur=81.9880, glass_blur=82.6268,
    motion_blur=78.5948, zoom_blur=79.8360, snow=86.6816, frost=82.6572, fog=81.9324, brightness=56.4592,
    contrast=85.3204, elastic_transform=64.6056, pixelate=71.7840, jpeg_compression=60.6500)


@METRICS.register_module()
class ImageNetVariantAccuracy(BaseMetric):
    """Computes top-1 and top-5 accuracy over the classes of an ``ImageNetVariant`` data set.

    Scores of other classes are ignored, as defined for ImageNet-A and -R. For ImageNet-C, with images in
    ``CORRUPTION/SEVERITY/CLASS/``, the metric also computes the accuracy for each corruption. With all fifteen
    corruptions, it also computes the mean corruption error ``mCE``, where each error is relative to AlexNet's error.
    """
    default_prefix = 'accuracy'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Stores each image's corruption, and whether its top-1 and top-5 predictions are correct."""
        labels = torch.tensor((self.dataset_meta or {})['labels'])
        for sample in data_samples:
            best = labels[sample['pred_score'].cpu()[labels].topk(min(5, len(labels))).indices]
            hits = (best == sample['gt_label'].cpu()).tolist()
            self.results.append((Path(sample['img_path']).parts[-4:-3], hits[0], any(hits)))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Returns the accuracies and ``mCE`` in percent."""
        corruptions = defaultdict(list)
        for folder, hit, _ in results:
            if folder and folder[0] in ALEXNET_ERRORS:
                corruptions[folder[0]].append(hit)
        metrics = {f'top{k}': percent([result[i] for result in results]) for i, k in ((1, 1), (2, 5))}
        metrics |= {name: percent(hits) for name, hits in sorted(corruptions.items())}
        if corruptions.keys() == ALEXNET_ERRORS.keys():
            errors = [(100 - metrics[name]) / error for name, error in ALEXNET_ERRORS.items()]
            metrics['mCE'] = 100 * sum(errors) / len(errors)
        return metrics


def percent(hits: list[bool]) -> float:
    return 100 * sum(hits) / len(hits)
