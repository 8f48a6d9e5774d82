"""Arithmetic of symbolic sizes."""
import torch
import torch._dynamo.testing
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from mmvit_backbones.ops.sizes import at_least_one, ceil_div, is_positive, to_multiple
from mmvit_backbones.ops.window import crop


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


def test_cropping_is_compiled_once():
    """A default that is a float would make torch.compile compile a network with dynamic sizes twice."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend('aot_eager')
    compiled = torch.compile(lambda x: crop(x, 3, 3), fullgraph=True, dynamic=True, backend=counter)
    for side in 5, 7:
        assert compiled(torch.ones(2, side, side, 3)).shape == (2, 3, 3, 3)
    assert counter.frame_count == 1
