"""The contract of all backbones with compilers: few graphs for all image sizes, and the same results and gradients."""
import random

import pytest
import torch
from helpers import each_network, fresh_model, gradients, images, largest_error, without_dropout
from tiny_configs import shallow
from torch import nn
from torch._dynamo.testing import CompileCounter

from mmvit_backbones.utils import versions

# Image sizes of detectors, in both orientations; some are multiples of strides and windows. In smaller
# images, a stage can have a single window, and torch.compile treats the number 1 as a constant.
RANDOM = random.Random(0)
SIZES = [(800, 1333), (768, 1344), (1333, 800), (640, 1120)] + [(RANDOM.randint(480, 1000), RANDOM.randint(480, 1333))
                                                                for _ in range(16)]
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def reset_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def small_model(network: str, **arguments) -> nn.Module:
    """Builds a network with one block of each kind, which compiles faster than a whole one, in as many compilations."""
    depth = 2 if network in ('RefinerViT', 'ReViT') else 1
    return fresh_model(network, **shallow(network, depth, first=1 + (network == 'ReSwin')), **arguments)


@pytest.mark.compiler
@pytest.mark.usefixtures('symbolic_shapes')
@each_network
def test_two_compilations_serve_all_sizes(network):
    """Uses the meta device to save time, and no batch of 1, for which torch.compile always compiles again."""
    model, counter = small_model(network).train().to('meta'), CompileCounter()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=counter)
    for i, size in enumerate(SIZES):
        x = torch.empty(2 + i % 2, 3, *size, device='meta')
        maps = compiled(x)
        assert counter.frame_count <= 2, f'compiled again for a batch of {len(x)} images of {size}'
    assert [x.shape for x in maps] == [x.shape for x in model(x)]


@pytest.mark.compiler
@each_network
def test_compiled_training_step(network):
    """Compiles forward and backward passes, without inductor, which would take minutes per network."""
    # Dropout is off, because a compiled graph draws different random numbers.
    model, x = without_dropout(small_model(network, drop_path_rate=0.)).train(), images(60, 90, batch=1)
    expected = gradients(model, x)
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    sum(out.square().mean() for out in compiled(x)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-5, msg=name)


@each_network
@torch.no_grad()
def test_export(network):
    model, x = small_model(network).eval(), images(60, 90, batch=1)
    program = torch.export.export(model, (x, ))
    assert largest_error(program.module()(x), model(x)) < 1e-4
    if not versions.is_older('2.7'):
        assert 'mmvit' not in str(program.graph), 'runtimes lack the operators of this package'
    # Quantizers observe the inputs of arithmetic, and observers can't process booleans.
    arithmetic = [node for node in program.graph.nodes if str(node.target).startswith(('aten.add', 'aten.mul'))]
    assert not [node for node in arithmetic for x in node.all_input_nodes if x.meta['val'].dtype == torch.bool]
