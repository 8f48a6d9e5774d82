"""Token labels: for every training image, a map of the classes that another network predicts at each position.

Re-labeling ImageNet (Yun et al., CVPR 2021, arXiv 2101.05022), as All Tokens Matter (Jiang et al., NeurIPS 2021,
arXiv 2104.10858) uses it. ``mmvit data token-labels`` computes the maps.
"""
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from torch import Tensor

from ..errors import CheckpointError
from ..zoo.files import load_file

TOP_K = 5  # classes per position
LABELS = ('token_scores', 'token_classes')


def read_token_labels(path: str | Path, num_classes: int) -> tuple[Tensor, Tensor]:
    """Reads a tensor ``(2, 5, H, W)``: the five highest scores of each position (all, if fewer), and their classes.

    Returns:
        tuple[Tensor, Tensor]: Scores ``(5, H, W)``, float32, and classes, int64.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read, or has other content.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'token labels {path} do not exist')
    try:
        labels = load_file(path)
    except CheckpointError as error:
        raise ValueError(f'token labels: {error}') from None
    found = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
    if len(found) != 4 or found[:2] != (2, min(TOP_K, num_classes)) or 0 in found:
        raise ValueError(f'token labels {path} must be (2, {min(TOP_K, num_classes)}, H, W), got {found}')
    scores, classes = labels.float()
    if not (scores.isfinite() & (classes >= 0) & (classes < num_classes) & (classes == classes.floor())).all():
        raise ValueError(f'token labels {path} must have finite scores, and classes from 0 to {num_classes - 1}, got '
                         f'classes from {classes.min().item():g} to {classes.max().item():g}')
    return scores, classes.long()


@TRANSFORMS.register_module()
class LoadTokenLabels:
    """Reads the token labels of an image, ``ROOT/<folder of the image>/<its name>.pt``.

    Adds ``token_scores`` and ``token_classes``; see :func:`read_token_labels`.

    Args:
        root (str): Folder with a folder per class.
        num_classes (int): Number of classes.
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

    Labels are flipped, and moved by the geometric operations of ``RandAugment``: each position takes the label of the
    nearest one; positions from outside the image have no score. ``RandomResizedCrop`` does not change the labels and
    adds ``token_box``: top, left, height and width of the crop as fractions of the image.

    Args:
        transforms (list[dict]): Any of ``RandomFlip``, ``RandAugment`` and, as the last one, ``RandomResizedCrop``.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        self.transforms = [TRANSFORMS.build(transform) for transform in transforms]
        kinds = [type(transform).__name__ for transform in self.transforms]
        unknown = sorted(set(kinds) - MOVES.keys())
        if unknown:
            raise ValueError(f'transforms must be of {", ".join(MOVES)}, got {", ".join(unknown)}')
        if 'RandomResizedCrop' in kinds[:-1]:
            raise ValueError('transforms must have RandomResizedCrop as the last one, for the others move all labels')

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
    np.random.set_state(state)  # it draws them again
    results = transform(results)
    results['token_box'] = (top / height, left / width, crop_height / height, crop_width / width)
    return results


MOVES = dict(RandomFlip=flip, RandAugment=augment, RandomResizedCrop=crop)


def move_labels(operation, results: dict) -> dict:
    """Applies a geometric operation of mmpretrain to the image and to an image of positions, which moves the labels."""
    height, width = results['img'].shape[:2]
    rows, columns = results['token_scores'].shape[1:]
    row, column = torch.arange(height) * rows // height, torch.arange(width) * columns // width
    positions = (row[:, None] * columns + column).float().numpy()
    nearest = copy.copy(operation)
    nearest.interpolation, nearest.pad_val = 'nearest', -1
    state = np.random.get_state()
    results = operation(results)
    np.random.set_state(state)  # for the same move
    moved = nearest(dict(img=positions))['img']
    row, column = centers(rows, height), centers(columns, width)
    source = torch.from_numpy(moved)[row[:, None], column].long()
    results.update({key: results[key].flatten(1)[:, source.clamp(min=0)] * (source >= 0) for key in LABELS})
    return results


def centers(parts: int, length: int) -> Tensor:
    """Returns the center pixels of ``parts`` equal parts of a side."""
    return ((2 * torch.arange(parts) + 1) * length // (2 * parts)).clamp(max=length - 1)


@TRANSFORMS.register_module()
class PoolTokenLabels:
    """Pools token labels to targets ``gt_score``: one for the class token, from the whole crop, and one for each patch.

    Scores are averaged over the crop and over each of its patches; classes not among a position's five have
    score 0. As published, a target sums to ``1 + label_smooth_val / num_classes``. ``gt_score`` is flat,
    ``(num_classes * (1 + grid_size ** 2), )``, because mmpretrain's samples need vectors; its ``Mixup`` and ``CutMix``
    mix it like any score, and ``TokenLabelHead`` restores its shape.

    Paper: arXiv 2104.10858, figure 2.

    Args:
        num_classes (int): Number of classes.
        grid_size (int): Patches in height and width: 14 at 224 pixels, 24 at 384, 28 at 448.
        label_smooth_val (float): Fraction of the score that is spread over all classes.
        transposed_boxes (bool): Exchange rows and columns of the crop's box, as the authors' code does.
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
        from torchvision.ops import roi_align
        scores, (top, left, height, width) = results['token_scores'], results.get('token_box', (0, 0, 1, 1))
        if self.transposed_boxes:
            top, left, height, width = left, top, width, height
        rows, columns = scores.shape[1:]
        box = scores.new_tensor([[left * columns, top * rows, (left + width) * columns, (top + height) * rows]]) - 0.5
        seen, index = results['token_classes'].unique(return_inverse=True)  # few: the others need no pooling
        dense = scores.new_zeros(1, len(seen), rows, columns).scatter_(1, index[None], scores[None])
        pooled = [roi_align(dense, [box], size)[0].flatten(1) for size in (1, self.grid_size)]
        target = scores.new_zeros(self.num_classes, 1 + self.grid_size**2)
        target[seen] = torch.cat(pooled, dim=1)
        share = self.label_smooth_val / self.num_classes
        results['gt_score'] = (target.softmax(0) * (1 - self.label_smooth_val + share) + share).flatten()
        return results
