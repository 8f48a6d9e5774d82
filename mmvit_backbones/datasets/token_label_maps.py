"""Token labels: a map of the classes that another network predicts at each position of a training image.

Such maps were introduced by "Re-labeling ImageNet" (Yun et al., CVPR 2021, arXiv 2101.05022), and are used here as in
"All Tokens Matter" (Jiang et al., NeurIPS 2021, arXiv 2104.10858).
"""
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from torch import Tensor

from ..zoo.reading import read_object

TOP_K = 5  # classes per position
LABELS = ('token_scores', 'token_classes')


def read_token_labels(path: str | Path, num_classes: int) -> tuple[Tensor, Tensor]:
    """Reads a tensor ``(2, 5, H, W)``: the five highest scores at each position, and the classes with these scores.

    With fewer than five classes, the tensor has the scores of all classes.

    Returns:
        tuple[Tensor, Tensor]: Scores ``(5, H, W)``, float32, and classes ``(5, H, W)``, int64.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file cannot be read, or has other content.
    """
    labels = read_object(path)
    top_k = min(TOP_K, num_classes)
    if not isinstance(labels, Tensor):
        raise ValueError(f'token labels {path} must be a tensor (2, {top_k}, H, W), got a {type(labels).__name__}')
    if labels.ndim != 4 or labels.shape[:2] != (2, top_k) or not labels.numel():
        raise ValueError(f'token labels {path} must be (2, {top_k}, H, W), got {tuple(labels.shape)}')
    scores, classes = labels.float()
    if not (scores.isfinite() & (classes >= 0) & (classes < num_classes) & (classes == classes.floor())).all():
        raise ValueError(f'token labels {path} must have finite scores, and classes from 0 to {num_classes - 1}, got '
                         f'classes from {classes.min().item():g} to {classes.max().item():g}')
    return scores, classes.long()


@TRANSFORMS.register_module()
class LoadTokenLabels:
    """Loads the token labels of an image from ``<root>/<folder of the image>/<name of the image>.pt``.

    Adds ``token_scores`` and ``token_classes`` to the results; see :func:`read_token_labels`.

    Args:
        root (str): Folder with one subfolder per class.
        num_classes (int): Number of classes.

    Raises:
        FileNotFoundError: If an image has no token labels.
        ValueError: If token labels cannot be read, or have other content.
    """

    def __init__(self, root: str, num_classes: int) -> None:
        self.root = Path(root)
        self.num_classes = num_classes

    def __call__(self, results: dict) -> dict:
        path = self.root.joinpath(*Path(results['img_path']).with_suffix('.pt').parts[-2:])
        results['token_scores'], results['token_classes'] = read_token_labels(path, self.num_classes)
        return results


@TRANSFORMS.register_module()
class TransformWithTokenLabels:
    """Applies mmpretrain's geometric transforms to an image and its token labels.

    ``RandomFlip`` and the geometric operations of ``RandAugment`` also transform the labels, with nearest-neighbor
    interpolation; positions from outside the image get the score 0. ``RandomResizedCrop`` does not change the labels,
    but adds ``token_box`` to the results: top, left, height and width of the crop as fractions of the image.

    Args:
        transforms (Sequence[dict]): Configs of ``RandomFlip``, ``RandAugment`` and ``RandomResizedCrop``; the crop must
            be last.

    Raises:
        ValueError: If another transform is given, or the crop is not the last.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = [TRANSFORMS.build(transform) for transform in transforms]
        kinds = [type(transform).__name__ for transform in self.transforms]
        unknown = sorted(set(kinds) - MOVES.keys())
        if unknown:
            raise ValueError(f'transforms must be among {", ".join(MOVES)}, got {", ".join(unknown)}')
        if 'RandomResizedCrop' in kinds[:-1]:
            raise ValueError('RandomResizedCrop must be the last of transforms, because it does not crop the labels')

    def __call__(self, results: dict) -> dict:
        for transform in self.transforms:
            results = MOVES[type(transform).__name__](transform, results)
        return results


def flip(transform, results: dict) -> dict:
    results = transform(results)
    if results['flip']:
        axes = dict(horizontal=[-1], vertical=[-2], diagonal=[-2, -1])[results['flip_direction']]
        results.update({key: results[key].flip(axes) for key in LABELS})
    return results


def augment(transform, results: dict) -> dict:
    for index in transform.random_policy_indices():
        operation = transform.transforms[index]
        is_geometric = hasattr(operation, 'interpolation') and hasattr(operation, 'pad_val')
        results = move_labels(operation, results) if is_geometric else operation(results)
    return results


def crop(transform, results: dict) -> dict:
    height, width = results['img'].shape[:2]
    state = np.random.get_state()
    top, left, crop_height, crop_width = transform.rand_crop_params(results['img'])
    np.random.set_state(state)  # the transform draws the same parameters again
    results = transform(results)
    results['token_box'] = (top / height, left / width, crop_height / height, crop_width / width)
    return results


MOVES = dict(RandomFlip=flip, RandAugment=augment, RandomResizedCrop=crop)


def move_labels(operation, results: dict) -> dict:
    """Applies a geometric operation of mmpretrain to an image, and moves its labels by transforming their positions."""
    height, width = results['img'].shape[:2]
    rows, columns = results['token_scores'].shape[1:]
    row, column = torch.arange(height) * rows // height, torch.arange(width) * columns // width
    positions = (row[:, None] * columns + column).float().numpy()
    nearest = copy.copy(operation)
    nearest.interpolation, nearest.pad_val = 'nearest', -1
    state = np.random.get_state()
    results = operation(results)
    np.random.set_state(state)  # makes the second operation draw the same random parameters
    moved = nearest(dict(img=positions))['img']
    row, column = centers(rows, height), centers(columns, width)
    source = torch.from_numpy(moved)[row[:, None], column].long()
    results.update({key: results[key].flatten(1)[:, source.clamp(min=0)] * (source >= 0) for key in LABELS})
    return results


def centers(parts: int, length: int) -> Tensor:
    """Divides ``length`` pixels into ``parts`` equal parts, and returns the center pixel of each part."""
    return (2 * torch.arange(parts) + 1) * length // (2 * parts)


@TRANSFORMS.register_module()
class PoolTokenLabels:
    """Pools token labels into targets ``gt_score``: one for the class token, from the whole crop, and one per patch.

    Scores are averaged over the crop and over each patch. At each position, classes other than the five best have the
    score 0. As published, a target sums to ``1 + label_smooth_val / num_classes``. ``gt_score`` is flat,
    ``(num_classes * (1 + grid_size ** 2), )``, because mmpretrain's data samples require vectors. ``Mixup`` and
    ``CutMix`` mix ``gt_score`` like any other score, and ``TokenLabelHead`` reshapes it to one column per target.

    Paper: arXiv 2104.10858, figure 2.

    Args:
        num_classes (int): Number of classes.
        grid_size (int): Number of patches along a side: 14 at 224 pixels, 24 at 384, 28 at 448.
        label_smooth_val (float): Fraction of the score that is spread over all classes. Defaults to 0.1.
        transposed_boxes (bool): Whether to exchange rows and columns of the crop's box, like the authors' code.
            Defaults to False.

    Raises:
        ValueError: If ``grid_size`` is below 1, or ``label_smooth_val`` is not in [0, 1).
    """

    def __init__(self, num_classes: int, grid_size: int, label_smooth_val: float = 0.1,
                 transposed_boxes: bool = False) -> None:
        if grid_size < 1:
            raise ValueError(f'grid_size must be at least 1, got {grid_size}')
        if not 0 <= label_smooth_val < 1:
            raise ValueError(f'label_smooth_val must be in [0, 1), got {label_smooth_val}')
        self.num_classes = num_classes
        self.grid_size = grid_size
        self.label_smooth_val = label_smooth_val
        self.transposed_boxes = transposed_boxes

    def __call__(self, results: dict) -> dict:
        from torchvision.ops import RoIAlign
        scores, (top, left, height, width) = results['token_scores'], results.get('token_box', (0, 0, 1, 1))
        if self.transposed_boxes:
            top, left, height, width = left, top, width, height
        rows, columns = scores.shape[1:]
        box = scores.new_tensor([[left * columns, top * rows, (left + width) * columns, (top + height) * rows]]) - 0.5
        seen, index = results['token_classes'].unique(return_inverse=True)  # only a few classes need pooling
        dense = scores.new_zeros(1, len(seen), rows, columns).scatter_(1, index[None], scores[None])
        pooled = [RoIAlign(size, 1., -1)(dense, [box])[0].flatten(1) for size in (1, self.grid_size)]
        target = scores.new_zeros(self.num_classes, 1 + self.grid_size**2)
        target[seen] = torch.cat(pooled, dim=1)
        share = self.label_smooth_val / self.num_classes
        results['gt_score'] = (target.softmax(0) * (1 - self.label_smooth_val + share) + share).flatten()
        return results
