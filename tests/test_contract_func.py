"""The contract of all backbones with torch.func: per-sample gradients, vmap and forward mode."""
from contextlib import nullcontext

import pytest
import torch
from helpers import each_network, images, largest_error, relative_error, trained_model
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from mmvit_backbones.ops import plain_pytorch
from mmvit_backbones.utils import versions

pytestmark = pytest.mark.filterwarnings('ignore:There is a performance drop:UserWarning')


@pytest.fixture(autouse=True)
def plain_pytorch_if_transforms_cannot_be_recognized():
    with plain_pytorch() if versions.is_older('2.7') else nullcontext():
        yield


@pytest.fixture
def model(network: str) -> nn.Module:
    return trained_model(network).double().eval()


def loss(model: nn.Module, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    return sum(out.square().mean() for out in functional_call(model, parameters, (x, )))


@each_network
def test_gradients_of_each_sample(network, model):
    x, parameters = images(32, 48).double(), {name: parameter.detach() for name, parameter in model.named_parameters()}
    per_sample = vmap(grad(lambda parameters, sample: loss(model, parameters, sample[None])), in_dims=(None, 0))
    found = per_sample(parameters, x)
    for i in range(len(x)):
        loss(model, dict(model.named_parameters()), x[i:i + 1]).backward()
        largest = max(parameter.grad.abs().max() for parameter in model.parameters())
        for name, parameter in model.named_parameters():
            assert (found[name][i] - parameter.grad).abs().max() <= 1e-9 * largest, name
        model.zero_grad()


@each_network
@torch.no_grad()
def test_vmap(network, model):
    x = images(32, 48, 3).double()
    mapped = vmap(lambda sample: tuple(out[0] for out in model(sample[None])))(x)
    assert largest_error(mapped, model(x)) < 1e-9


@pytest.mark.skipif(versions.is_older('2.3'), reason='sdpa_kernel requires PyTorch 2.3')
@pytest.mark.parametrize('network', ['ReMViTv2', 'RegionViT', 'ResT', 'SwinVSA', 'ViTAEv2'])
def test_forward_and_reverse_mode_agree(network, model):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    x, direction = images(32, 48).double(), images(32, 48).double()
    with sdpa_kernel(SDPBackend.MATH):
        _, directional = jvp(lambda x: sum(out.square().mean() for out in model(x)), (x, ), (direction, ))
        gradient = grad(lambda x: sum(out.square().mean() for out in model(x)))(x)
    assert relative_error((gradient * direction).sum(), directional) < 1e-9
