import pytest
import torch
from torch.func import grad, vmap

from mmvit_backbones.ops.window_means import means_of, window_means


@pytest.mark.parametrize('padding', [(0, 0, 0, 0), (1, 1, 2, 0)])
def test_gradients_of_map_and_means_add_up(padding):
    x = torch.rand(2, 6 - padding[2], 8 - padding[0] - padding[1], 3, dtype=torch.float64)

    def loss(parts):
        return (parts[0].square().sum() + parts[1].pow(3).sum())

    expected = grad(lambda x: loss((x, means_of(x, 2, padding))))(x)
    leaf = x.clone().requires_grad_()
    loss(window_means(leaf, 2, padding)).backward()
    torch.testing.assert_close(leaf.grad, expected)
    per_image = vmap(grad(lambda x: loss(window_means(x[None], 2, padding))))(x)
    torch.testing.assert_close(per_image, expected)
