"""Mixing of patches between the images of a batch (token labeling, Jiang et al., NeurIPS 2021, arXiv 2104.10858)."""
from typing import NamedTuple

import torch
from torch import Tensor

BBox = tuple[int, int, int, int]
NO_BBOX = (0, 0, 0, 0)


class TokenFeatures(NamedTuple):
    """Tokens for a classifier.

    Attributes:
        tokens (Tensor): Normalized tokens ``(B, 1 + h * w, C)``, the class token first.
        grid (tuple[int, int]): Rows and columns of patches, ``(h, w)``.
        bbox (tuple[int, int, int, int]): Box of patches that image ``i`` takes from image ``B - 1 - i`` of the batch:
            top, left, bottom (exclusive), right (exclusive).
        maps (tuple[Tensor, ...]): In training with gradients, the attention map ``(B, num_heads, N, N)`` of each block;
            else empty.
    """
    tokens: Tensor
    grid: tuple[int, int]
    bbox: BBox
    maps: tuple[Tensor, ...]


def mix_tokens(x: Tensor, bbox: BBox) -> Tensor:
    """Swaps a box of maps ``(B, H, W, C)`` between image ``i`` and image ``B - 1 - i`` of the batch.

    Paper: arXiv 2104.10858, section 3.3.
    """
    if bbox == NO_BBOX:
        return x
    top, left, bottom, right = bbox
    mixed = x.clone()
    mixed[:, top:bottom, left:right] = x.flip(0)[:, top:bottom, left:right]
    return mixed


def sample_bbox(height: int, width: int) -> BBox:
    """Draws a random box on a grid, as in CutMix (Yun et al., ICCV 2019, arXiv 1905.04899), by torch's generator.

    Paper: arXiv 2104.10858, section 3.3.
    """
    area, *position = torch.rand(3).tolist()  # on the CPU, also for images on a GPU
    corners = []
    for length, place in zip((height, width), position):
        center, half = int(place * length), int(length * area**0.5) // 2
        corners.append((max(center - half, 0), min(center + half, length)))
    (top, bottom), (left, right) = corners
    return top, left, bottom, right
