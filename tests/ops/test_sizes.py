"""Arithmetic of symbolic sizes."""
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from mmvit_backbones.ops.sizes import at_least_one, ceil_div, is_positive, to_multiple


def test_numbers():
    assert [is_positive(size) for size in (0, 1, 2)] == [0, 1, 1]
    assert [at_least_one(size) for size in (0, 1, 2)] == [1, 1, 2]
    for length, windows in [(1, 1), (4, 1), (5, 2), (8, 2)]:
        assert ceil_div(length, 4) == to_multiple(length, 4) // 4 == windows


def test_symbolic_sizes_add_no_guards():
    """A guard would make torch.compile compile again for another image size."""
    env = ShapeEnv()
    size = FakeTensorMode(shape_env=env).from_tensor(torch.empty(7), static_shapes=False).shape[0]
    results = [*(is_positive(size - n) for n in (7, 6, 0)), at_least_one(size - 7), at_least_one(size)]
    assert not env.guards
    assert [int(result) for result in results] == [0, 1, 1, 1, 7]
