"""Accuracy on ImageNet's validation images with reassessed labels.

The labels were published with "Are we done with ImageNet?" (Beyer et al., 2020, arXiv 2006.07159), as ``real.json`` in
github.com/google-research/reassessed-imagenet.
"""
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..utils.file_access import read_text

NUM_IMAGES = 50_000


@METRICS.register_module()
class ImageNetReaL(BaseMetric):
    """Computes the top-k accuracy on ImageNet-ReaL, where an image can have several correct labels or none.

    A prediction is correct if any label of the image is among the k highest scores. Images without labels are ignored.
    The image files must have their original names ``ILSVRC2012_val_%08d``.

    Args:
        label_file (str): Path of ``real.json``, a list of 50,000 lists of class indices in the order of the images.
        topk (int | Sequence[int]): One or more values of k. Defaults to (1, ).
        **kwargs: Arguments of MMEngine's ``BaseMetric``.

    Raises:
        ValueError: If ``topk`` is empty or a k is below 1, the label file is missing or invalid, or an image's name has
            no valid number.
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
            best = sample['pred_score'].cpu().topk(max(self.topk)).indices
            hits = [bool(torch.isin(best[:k], labels).any()) for k in self.topk]
            self.results.append(hits if len(labels) else [])  # one per image: MMEngine drops repeated ones by number

    def compute_metrics(self, results: list[list[bool]]) -> dict[str, float]:
        """Returns the accuracies ``top{k}`` of the images with labels, in percent; nan if no image has labels."""
        hits = torch.tensor([each for each in results if each], dtype=torch.float64).reshape(-1, len(self.topk))
        return {f'top{k}': 100 * rate for k, rate in zip(self.topk, hits.mean(0).tolist())}


def read_labels(path: str) -> list[list[int]]:
    try:
        labels = json.loads(read_text(Path(path).expanduser()))
        if len(labels) != NUM_IMAGES or not all(isinstance(entry, list) for entry in labels):
            raise ValueError(f'got {len(labels)} entries')
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f'label_file {path} must have {NUM_IMAGES} lists of class indices, like real.json from '
                         f'github.com/google-research/reassessed-imagenet: {error}') from None
    return labels


def image_index(path: str) -> int:
    """Returns the index of an image in the label file, e.g. 0 for ``ILSVRC2012_val_00000001``."""
    match = re.search(r'ILSVRC2012_val_(\d{8})', Path(path).name)
    if match is None or not 1 <= int(match[1]) <= NUM_IMAGES:
        raise ValueError(f'img_path {path} must have the name of a validation image, such as ILSVRC2012_val_00000001')
    return int(match[1]) - 1
