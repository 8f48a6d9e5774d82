"""Mixing of patches between images."""
import numpy as np
import pytest
import torch

from mmvit_backbones.layers.mix_tokens import mix_tokens, sample_bbox


def test_mix_tokens_is_its_own_inverse():
    x = torch.randn(4, 6, 5, 3)
    mixed = mix_tokens(x, (1, 0, 3, 4))
    assert torch.equal(mixed[0, 1:3, :4], x[3, 1:3, :4]) and torch.equal(mixed[0, 3:], x[0, 3:])
    assert torch.equal(mix_tokens(mixed, (1, 0, 3, 4)), x)


def test_boxes_have_the_sizes_and_proportions_of_cutmix():
    """The area of a box is uniformly distributed before the box is cut at the edges of the grid."""
    torch.manual_seed(0)
    boxes = [sample_bbox(2000, 1000) for _ in range(4000)]
    areas = [(bottom - top) * (right - left) / 2e6 for top, left, bottom, right in boxes]
    assert np.mean(areas) == pytest.approx(0.5 - 0.2 + 1 / 48, abs=0.015)
    inside = [(bottom - top, right - left) for top, left, bottom, right in boxes
              if top > 0 and left > 0 and bottom < 2000 and right < 1000]
    assert len(inside) > 500 and all(abs(rows - 2 * columns) <= 4 for rows, columns in inside)
