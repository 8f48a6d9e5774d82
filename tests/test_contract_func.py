"""The contract of all backbones with torch.func: forward and reverse mode, per-sample gradients, Hessians, vmap."""
from collections.abc import Callable

import pytest
import torch
from helpers import each_network, images, largest_error, relative_error, trained_model
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacrev, jvp, vmap


@pytest.fixture
def model(network: str) -> nn.Module:
    return trained_model(network).double().eval()


def loss_of(model: nn.Module) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    return lambda parameters, x: sum(out.square().mean() for out in functional_call(model, parameters, (x, )))


def detached(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def draw(batch: int = 2) -> Tensor:
    return images(32, 48, batch).double()


@each_network
def test_per_sample_gradients(network, model):
    loss, x, parameters = loss_of(model), draw(), detached(model)
    per_sample = vmap(grad(lambda parameters, sample: loss(parameters, sample[None])), in_dims=(None, 0))(parameters, x)
    for i in range(len(x)):
        expected = torch.autograd.grad(loss(dict(model.named_parameters()), x[i:i + 1]), list(model.parameters()))
        largest = max(gradient.abs().max() for gradient in expected)
        for name, gradient in zip(parameters, expected):
            assert (per_sample[name][i] - gradient).abs().max() <= 1e-9 * largest, name


@each_network
def test_forward_and_reverse_mode_agree(network, model):
    x, direction, loss = draw(), draw(), loss_of(model)
    rows = jacrev(lambda x: torch.stack([out.mean() for out in model(x)]))(x)
    _, slopes = jvp(lambda x: torch.stack([out.mean() for out in model(x)]), (x, ), (direction, ))
    assert relative_error((rows * direction).flatten(1).sum(1), slopes) < 1e-9
    with forward_ad.dual_level():
        slope = forward_ad.unpack_dual(loss(detached(model), forward_ad.make_dual(x, direction))).tangent
    leaf = x.clone().requires_grad_()
    gradient, = torch.autograd.grad(loss(detached(model), leaf), leaf)  # uses the compiled operators
    assert relative_error((gradient * direction).sum(), slope) < 1e-9


@each_network
def test_hessian_is_symmetric(network, model):
    """Compares the products ``a H b`` and ``b H a``."""
    x, a, b, loss, parameters = draw(1), draw(1), draw(1), loss_of(model), detached(model)

    def hessian_times(direction: Tensor) -> Tensor:
        return jvp(lambda x: grad(loss, argnums=1)(parameters, x), (x, ), (direction, ))[1]

    product = (a * hessian_times(b)).sum()
    assert product != 0 and relative_error((b * hessian_times(a)).sum(), product) < 1e-6


@each_network
@torch.no_grad()
def test_vmap(network, model):
    x = draw(3)
    mapped = vmap(lambda sample: tuple(out[0] for out in model(sample[None])))(x)
    assert largest_error(mapped, model(x)) < 1e-9
