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


@each_network
def test_second_derivatives_in_reverse_and_forward_mode(network, model):
    """Kernels have only first derivatives, also those of ``F.scaled_dot_product_attention``."""
    x, direction = images(32, 48).double().requires_grad_(), images(32, 48).double()

    def loss_of(x: Tensor) -> Tensor:
        return sum(out.square().mean() for out in model(x))

    with plain_pytorch():
        gradient, = torch.autograd.grad(loss_of(x), x, create_graph=True)
        _, forward = jvp(grad(loss_of), (x.detach(), ), (direction, ))
    reverse, = torch.autograd.grad((gradient * direction).sum(), x)
    assert relative_error(reverse, forward) < 1e-9
