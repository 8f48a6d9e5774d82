"""Necks: shapes, positions in the levels of the pyramid, and normalization."""
import pytest
import torch
from mmengine.registry import MODELS

import mmvit_backbones  # noqa: F401


@pytest.mark.parametrize('height, width', [(1, 1), (5, 7), (8, 12)])
def test_simple_feature_pyramid_at_any_size(height, width):
    neck = MODELS.build(dict(type='SimpleFeaturePyramid', in_channels=[8, 16], out_channels=4, num_outs=5))
    outs = neck((torch.rand(2, 8, 1, 1), torch.rand(2, 16, height, width)))
    scaled = [(4 * height, 4 * width), (2 * height, 2 * width), (height, width)]
    for _ in range(2):
        scaled.append(tuple(-(-n // 2) for n in scaled[-1]))
    assert [x.shape for x in outs] == [(2, 4, *size) for size in scaled]
    assert all(x.is_contiguous() for x in outs)
    sum(x.square().sum() for x in outs).backward()
    assert all(p.grad is not None for p in neck.parameters())


@torch.no_grad()
def test_simple_feature_pyramid_keeps_positions():
    """A change in one corner of the input changes only the same corner of each level."""
    neck = MODELS.build(dict(type='SimpleFeaturePyramid', in_channels=16, out_channels=4, num_outs=4))
    x = torch.rand(1, 16, 16, 16)
    changed = x.clone()
    changed[:, :, 0, 0] += 1
    for before, after in zip(neck((x, )), neck((changed, ))):
        row, column = (before != after).any(1)[0].nonzero().amax(0).tolist()
        assert 0 < row + 1 <= before.shape[2] // 2 and 0 < column + 1 <= before.shape[3] // 2


def test_pool_first_normalizes_the_mean():
    neck = MODELS.build(dict(type='LayerNormPooling', order='pool_first', in_channels=8))
    pooled, = neck((100 * torch.rand(3, 8, 4, 5), ))
    torch.testing.assert_close(pooled.mean(1), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(pooled.var(1, correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_norm_first_normalizes_every_token():
    """Scaling one token does not change the result."""
    x = torch.rand(3, 8, 4, 5)
    scaled = x.clone()
    scaled[:, :, 1, 2] *= 100
    neck = MODELS.build(dict(type='LayerNormPooling', order='norm_first', in_channels=8))
    torch.testing.assert_close(neck((scaled, ))[0], neck((x, ))[0], atol=1e-3, rtol=1e-3)
