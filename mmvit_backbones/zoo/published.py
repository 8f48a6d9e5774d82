"""Published results, nearly all by the authors; none are measured by this package.

``published.csv`` has one value per row, with its source; notes point out contradictions and missing details.
Parameters are in millions, and FLOPs in billions (multiply-adds for classifiers). Throughputs have the published units.
"""
import csv
from pathlib import Path

from ..errors import UsageError

# Key of a value -> task, dataset and metric in the metafiles.
METRICS = {
    'top1': ('Image Classification', 'ImageNet-1k', 'published Top 1 Accuracy'),
    'top5': ('Image Classification', 'ImageNet-1k', 'published Top 5 Accuracy'),
    'top1_22k': ('Image Classification', 'ImageNet-1k', 'published Top 1 Accuracy after ImageNet-22k'),
    'top5_22k': ('Image Classification', 'ImageNet-1k', 'published Top 5 Accuracy after ImageNet-22k'),
    'real': ('Image Classification', 'ImageNet-ReaL', 'published ReaL Accuracy'),
    'real_22k': ('Image Classification', 'ImageNet-ReaL', 'published ReaL Accuracy after ImageNet-22k'),
    'box': ('Object Detection', 'COCO', 'published box AP'),
    'mask': ('Instance Segmentation', 'COCO', 'published mask AP'),
    'ade20k': ('Semantic Segmentation', 'ADE20K', 'published mIoU'),
    'ade20k_ms': ('Semantic Segmentation', 'ADE20K', 'published mIoU (multi-scale and flip)'),
    'cityscapes': ('Semantic Segmentation', 'Cityscapes', 'published mIoU'),
    'cityscapes_ms': ('Semantic Segmentation', 'Cityscapes', 'published mIoU (multi-scale and flip)'),
}

# Keys of other values.
FACTS = 'params_m', 'flops_g', 'images_per_s', 'days', 'depth', 'embed_dim', 'num_heads', 'val_loss'


def results_of(lines: list[dict[str, str]]) -> dict[str, dict[str, float]]:
    """Returns the accuracies by config and key of ``METRICS``. If several values are published, the first is used.

    Raises:
        UsageError: If a key is unknown.
    """
    results = {}
    for line in lines:
        if line['key'] not in (*METRICS, *FACTS):
            allowed = ', '.join([*METRICS, *FACTS])
            raise UsageError(f'zoo/published.csv: key must be one of {allowed}, got {line["key"]}')
        if line['config'] and line['key'] in METRICS:
            results.setdefault(line['config'], {}).setdefault(line['key'], float(line['value']))
    return results


with Path(__file__).with_suffix('.csv').open(newline='', encoding='utf-8') as file:
    # All values are strings. The columns are variant, config (may be empty), key, value, setting, source and note.
    PUBLISHED = list(csv.DictReader(file))
RESULTS = results_of(PUBLISHED)
