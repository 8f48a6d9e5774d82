"""Attention in windows with padding: sorted by kind, it agrees with the formula and a mask for every window."""
import random

import pytest
import torch

from mmvit_backbones.ops.regional_attention import WindowGrid, edge_masks, reference, regional_attention


def random_case(number, dtype=torch.double):
    rng = random.Random(number)
    rows, columns, window, batch, heads, d = (rng.randint(1, high) for high in (3, 3, 4, 2, 3, 5))
    height = rows * window - (rng.randint(0, window - 1) if number % 3 else 0)
    width = columns * window - (rng.randint(0, window - 1) if number % 2 else 0)
    grid = WindowGrid(rows, columns, window, height, width)
    n = 1 + window**2
    q, k, v = torch.randn(3, rows * columns * batch, heads, n, d, dtype=dtype)
    return grid, batch, q, k, v, torch.randn(heads, n, n, dtype=dtype)


def allowed_pairs(grid, batch):
    """Of every window in the order of the grid, ``(windows * B, N, N)``."""
    n = 1 + grid.window_size**2
    pairs = torch.ones(n, n, dtype=torch.bool)
    if not any(grid.padding):
        return pairs.expand(grid.rows * grid.columns * batch, -1, -1)
    masks = [None, *edge_masks(grid.window_size, *grid.padding, torch.device('cpu'))]
    kinds = [pairs if mask is None else mask[0] & ~mask[1] for mask in masks]
    return torch.cat([kind.expand(count * batch, -1, -1) for kind, count in zip(kinds, grid.kinds)])


@pytest.mark.parametrize('number', range(40))
def test_agrees_with_the_formula(number):
    grid, batch, *inputs = random_case(number)
    inputs = [x.requires_grad_() for x in inputs]
    expected = reference(*inputs, allowed_pairs(grid, batch))
    actual = regional_attention(*inputs, grid.groups(like=inputs[0][:batch]))
    torch.testing.assert_close(actual, expected)
    weight = torch.randn_like(expected)
    for a, e in zip(*(torch.autograd.grad((out * weight).sum(), inputs) for out in (actual, expected))):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize('number', range(12))
def test_partition_is_reversed(number):
    grid, batch, *_ = random_case(number)
    local, regional = torch.rand(batch, grid.height, grid.width, 3), torch.rand(batch, grid.rows, grid.columns, 3)
    for actual, expected in zip(grid.reverse(*grid.partition(local, regional)), (local, regional)):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
def test_dtypes(dtype, tolerance):
    grid, batch, *inputs = random_case(5)
    expected = reference(*inputs, allowed_pairs(grid, batch))
    actual = regional_attention(*(x.to(dtype) for x in inputs), grid.groups(like=inputs[0][:batch].to(dtype)))
    assert actual.dtype == dtype and (actual.double() - expected).norm() / expected.norm() < tolerance
