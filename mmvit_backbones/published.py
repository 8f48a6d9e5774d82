"""Published results: what the authors state. None is measured.

``published.csv`` has one figure per line with its source; lines that contradict each other say so in their note.
Parameters are in millions, FLOPs in 1e9 (multiply-adds for classifiers), rates of images as printed.
"""
import csv
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
}


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
    sources = dict.fromkeys(line['source'] for line in read_figures() if line['config'] == config)
    found = [re.match(r'[\w-]+/[\w-]+(?=/)', source) for source in sources]
    return list(dict.fromkeys(f'https://github.com/{repository[0]}' if repository else source
                              for source, repository in zip(sources, found)))


RESULTS = results_of_configs()

# Kernels and GB of the authors' implementations: batch 64, 224 x 224, bfloat16, counted as by measure.count_traffic.
AUTHORS_TRAFFIC = {
    'reswin_tiny': dict(forward=dict(kernels=333, gb=14.41), step=dict(kernels=815, gb=38.13)),
    'remvitv2_tiny': dict(forward=dict(kernels=592, gb=20.24), step=dict(kernels=1255, gb=59.45)),
    'revit_base': dict(forward=dict(kernels=254, gb=18.79), step=dict(kernels=740, gb=60.11)),
    'rest_lite': dict(forward=dict(kernels=189, gb=5.4), step=dict(kernels=532, gb=15.3)),
    'rest_small': dict(forward=dict(kernels=277, gb=6.68), step=dict(kernels=768, gb=18.95)),
    'rest_base': dict(forward=dict(kernels=277, gb=9.64), step=dict(kernels=768, gb=27.48)),
    'restv2_tiny': dict(forward=dict(kernels=286, gb=8.98), step=dict(kernels=765, gb=24.46)),
    'restv2_small': dict(forward=dict(kernels=430, gb=12.09), step=dict(kernels=1143, gb=32.92)),
    'regionvit_tiny': dict(forward=dict(kernels=567, gb=10.78), step=dict(kernels=1755, gb=37.12)),
    'regionvit_small': dict(forward=dict(kernels=567, gb=16.16), step=dict(kernels=1755, gb=55.7)),
    'vitae_tiny': dict(forward=dict(kernels=316, gb=8.76), step=dict(kernels=850, gb=24.01)),
    'vitaev2_small': dict(forward=dict(kernels=517, gb=17.75), step=dict(kernels=1381, gb=51.36)),
    'vitaev2_vsa_small': dict(forward=dict(kernels=929, gb=23.69), step=dict(kernels=2460, gb=63.87)),
    'vitae_base': dict(forward=dict(kernels=306, gb=23.62), step=dict(kernels=878, gb=71.88)),
    'refiner_vit_small_plain': dict(forward=dict(kernels=444, gb=39.85), step=dict(kernels=1169, gb=107.23)),
}
