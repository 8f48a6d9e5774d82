"""Mixing of patches between the images of a batch (token labeling, Jiang et al., NeurIPS 2021, arXiv 2104.10858)."""
from typing import NamedTuple

import numpy as np
from torch import Tensor

BBox = tuple[int, int, int, int]
NO_BBOX = (0, 0, 0, 0)


class TokenFeatures(NamedTuple):
    """Tokens for a classifier.

    ``tokens`` are normalized, ``(B, 1 + h * w, C)``, the class token first; ``grid`` is ``(h, w)``; patches in ``bbox``
    (top, left, bottom, right; the last two exclusive) come from the image at the same index in the flipped batch;
    ``maps`` are, in training, the attention maps after every block, ``(B, num_heads, N, N)`` each.
    """
    tokens: Tensor
    grid: tuple[int, int]
    bbox: BBox
    maps: tuple[Tensor, ...]


def mix_tokens(x: Tensor, bbox: BBox) -> Tensor:
    """Swaps a box of maps ``(B, H, W, C)`` between the images of a batch: the first with the last, and so on.

    Paper: arXiv 2104.10858, section 3.3.
    """
    if bbox == NO_BBOX:
        return x
    top, left, bottom, right = bbox
    mixed = x.clone()
    mixed[:, top:bottom, left:right] = x.flip(0)[:, top:bottom, left:right]
    return mixed


def sample_bbox(height: int, width: int) -> BBox:
    """Draws a box as CutMix does (Yun et al., ICCV 2019, arXiv 1905.04899), on the given grid.

    Paper: arXiv 2104.10858, section 3.3.
    """
    side = np.sqrt(1 - np.random.beta(1, 1))
    corners = []
    for length in (height, width):
        center, half = np.random.randint(length), int(length * side) // 2
        corners.append((max(center - half, 0), min(center + half, length)))
    (top, bottom), (left, right) = corners
    return top, left, bottom, right
