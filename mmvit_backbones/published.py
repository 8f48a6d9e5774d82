"""Published results: what the authors state. None is measured.

``published.csv`` has one figure per line with its source; lines that contradict each other say so in their note.
Parameters are in millions, FLOPs in 1e9 (multiply-adds for classifiers), rates of images as printed.
"""
import csv
import functools
import re
from pathlib import Path

# Key of a figure -> task, data set and metric of the metafiles.
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
    'ade20k_ms': ('Semantic Segmentation', 'ADE20K', 'published mIoU with several scales and flips'),
    'cityscapes': ('Semantic Segmentation', 'Cityscapes', 'published mIoU'),
    'cityscapes_ms': ('Semantic Segmentation', 'Cityscapes', 'published mIoU with several scales and flips'),
    'ap10k': ('Animal Pose Estimation', 'AP-10K', 'published AP'),
}


@functools.cache
def read_figures() -> list[dict[str, str]]:
    """The lines of ``published.csv``: variant, config (or nothing), key, value, setting, source and note, as text."""
    with Path(__file__).with_suffix('.csv').open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def results_of_configs() -> dict[str, dict[str, float]]:
    """Accuracies by config and key of ``METRICS``; of those that contradict each other, the first."""
    results = {}
    for line in read_figures():
        if line['config'] and line['key'] in METRICS:
            results.setdefault(line['config'], {}).setdefault(line['key'], float(line['value']))
    return results


def sources_of(config: str) -> list[str]:
    """Where the figures of a config stand: addresses of repositories, or in words."""
    sources = [line['source'] for line in read_figures() if line['config'] == config]
    return list(dict.fromkeys(re.sub(r'^([\w-]+/[\w-]+)/.*', r'https://github.com/\1', source) for source in sources))


RESULTS = results_of_configs()
