"""Accuracy on ImageNet's validation images with reassessed labels.

Are we done with ImageNet? (Beyer et al., 2020, arXiv 2006.07159); the labels are ``real.json`` of
github.com/google-research/reassessed-imagenet.
"""
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

NUM_IMAGES = 50_000


@METRICS.register_module()
class ImageNetReaL(BaseMetric):
    """Computes ImageNet-ReaL's top-k accuracy: one of the k highest-scoring classes must be among the image's labels.

    Images without labels are ignored. Use it next to mmpretrain's ``Accuracy``, with images that keep their names
    ``ILSVRC2012_val_%08d``.

    Args:
        label_file (str): ``real.json``: a list of 50,000 lists of classes, in the order of the images.
        topk (int | Sequence[int]): One or more k. Defaults to (1, ).
        **kwargs: Arguments of MMEngine's ``BaseMetric``.

    Raises:
        ValueError: If the file is not such a list, or an image's name has no number.
    """

    default_prefix = 'real'

    def __init__(self, label_file: str, topk: int | Sequence[int] = (1, ), **kwargs) -> None:
        super().__init__(**kwargs)
        self.topk = (topk, ) if isinstance(topk, int) else tuple(topk)
        if not self.topk or min(self.topk) < 1:
            raise ValueError(f'topk must be at least 1, got {topk}')
        self.labels = read_labels(label_file)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            labels = torch.tensor(self.labels[image_index(sample['img_path'])])
            if len(labels):
                best = sample['pred_score'].cpu().topk(max(self.topk)).indices
                self.results.append([bool(torch.isin(best[:k], labels).any()) for k in self.topk])

    def compute_metrics(self, results: list[list[bool]]) -> dict[str, float]:
        """Returns the accuracies ``top{k}`` of the images with labels, in percent; nan if no image has labels."""
        hits = torch.tensor(results, dtype=torch.float64).reshape(-1, len(self.topk))
        return {f'top{k}': 100 * rate for k, rate in zip(self.topk, hits.mean(0).tolist())}


def read_labels(path: str) -> list[list[int]]:
    try:
        labels = json.loads(Path(path).expanduser().read_text())
        if len(labels) != NUM_IMAGES or not all(isinstance(entry, list) for entry in labels):
            raise ValueError(f'it has {len(labels)} entries')
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f'label_file {path} must have {NUM_IMAGES} lists of classes, as real.json of '
                         f'github.com/google-research/reassessed-imagenet: {error}') from None
    return labels


def image_index(path: str) -> int:
    """Returns the index of an image in the label file; the names count from ``ILSVRC2012_val_00000001``."""
    match = re.search(r'ILSVRC2012_val_(\d{8})', Path(path).name)
    if match is None or not 1 <= int(match[1]) <= NUM_IMAGES:
        raise ValueError(f'img_path {path} must have the number of a validation image, as ILSVRC2012_val_00000001')
    return int(match[1]) - 1
