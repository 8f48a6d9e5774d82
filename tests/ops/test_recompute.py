"""Recomputed inputs of layers: the same results as plain calls, fewer bytes, and no surprise for other hooks."""
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

from mmvit_backbones.layers import LayerNorm, Mlp
from mmvit_backbones.ops.recompute import recomputable, recompute_input
from mmvit_backbones.utils.measure import SavedStorages, storage_key


class Pair(nn.Module):
    """A cheap function and a layer that saves its input."""

    def __init__(self, function: nn.Module, layer: nn.Module, recompute: bool = True) -> None:
        super().__init__()
        self.function, self.layer, self.recompute = function, layer, recompute

    def forward(self, x: Tensor) -> Tensor:
        if not self.recompute:
            return self.layer(self.function(x))
        return recompute_input(self.layer, recomputable(self.function, x))


PAIRS = {
    'norm, linear': lambda: (nn.LayerNorm(6), nn.Linear(6, 5), (2, 4, 6)),
    'gelu, linear': lambda: (nn.GELU(), nn.Linear(6, 5, bias=False), (2, 3, 4, 6)),
    'gelu, convolution': lambda: (nn.GELU(), nn.Conv2d(6, 4, 3, stride=2, groups=2), (2, 6, 7, 5)),
    'norm with frozen statistics, convolution': lambda: (nn.BatchNorm2d(6).eval(), nn.Conv2d(6, 4, 1), (2, 6, 3, 5)),
}
each_pair = pytest.mark.parametrize('pair', PAIRS)


def build(pair: str, **options) -> tuple[Pair, Pair, Tensor]:
    """Recomputed and plain, with the same parameters, and an input."""
    function, layer, shape = PAIRS[pair]()
    return (Pair(function, layer), Pair(function, layer, recompute=False),
            torch.randn(shape, requires_grad=True, **options))


def evaluate(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The output and all gradients."""
    out = model(x)
    target = torch.linspace(-1, 1, out.numel()).view(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad((out * target).sum(), [x, *model.parameters()])]


def assert_same(actual: list[Tensor], expected: list[Tensor]) -> None:
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype and torch.equal(a, e)


@each_pair
def test_float64(pair):
    recomputed, plain, x = build(pair, dtype=torch.float64)
    assert_same(evaluate(recomputed.double(), x), evaluate(plain.double(), x))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@each_pair
def test_autocast(pair, dtype):
    """The layer saves what it casts; the backward pass runs outside of autocast."""
    results = []
    for model in build(pair)[:2]:
        torch.manual_seed(1)
        x = torch.randn(PAIRS[pair]()[2], requires_grad=True)
        with torch.autocast('cpu', dtype):
            out = model(x)
        results.append([out.detach(), *torch.autograd.grad(out.float().square().sum(), [x, *model.parameters()])])
    assert results[0][0].dtype == dtype
    assert_same(*results)


@each_pair
def test_gradcheck(pair):
    recomputed, _, x = build(pair, dtype=torch.float64)
    parameters = dict(recomputed.double().named_parameters())

    def function(x, *values):
        return functional_call(recomputed, dict(zip(parameters, values)), x)

    assert torch.autograd.gradcheck(function, (x, *parameters.values()))


@each_pair
def test_double_backward(pair):
    """A gradient penalty: of the recomputed graph, or refused, but never wrong."""
    recomputed, plain, x = build(pair, dtype=torch.float64)
    penalties = []
    for model in (plain.double(), recomputed.double()):
        first = torch.autograd.grad(model(x).square().sum(), [x, *model.parameters()], create_graph=True)
        penalty = sum(g.square().sum() for g in first)
        penalties.append(torch.autograd.grad(penalty, [x, *model.parameters()]))
    for a, e in zip(*penalties):
        torch.testing.assert_close(a, e)


@each_pair
@pytest.mark.parametrize('use_reentrant', [False, True])
def test_inside_of_activation_checkpointing(pair, use_reentrant):
    recomputed, plain, x = build(pair, dtype=torch.float64)
    recomputed.double()

    class Checkpointed(Pair):

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x, use_reentrant=use_reentrant)

    assert_same(evaluate_backward(Checkpointed(recomputed.function, recomputed.layer), x),
                evaluate_backward(plain, x))


def evaluate_backward(model: nn.Module, x: Tensor) -> list[Tensor]:
    """As :func:`evaluate`, by ``backward``, which reentrant checkpoints need."""
    x = x.detach().requires_grad_()
    model.zero_grad()
    out = model(x)
    out.square().sum().backward()
    return [out.detach(), x.grad, *(p.grad for p in model.parameters())]


@each_pair
def test_outer_hooks_see_what_is_saved(pair):
    """The source of the recipe, but not the layer's input; what such hooks return is what gets recomputed."""
    recomputed, plain, x = build(pair)
    with SavedStorages(plain) as all_saved:
        out = plain(x)
    with SavedStorages(recomputed) as saved:
        again = recomputed(x)
    assert torch.equal(out, again) and saved.num_bytes < all_saved.num_bytes
    assert storage_key(x) in {storage_key(t) for t in saved.tensors}

    def offload(tensor: Tensor) -> Tensor:
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(offload, offload):
        out = recomputed(x)
    actual = torch.autograd.grad(out.sum(), [x, *recomputed.parameters()])
    assert_same(actual, torch.autograd.grad(plain(x).sum(), [x, *plain.parameters()]))


def test_saved_on_the_cpu():
    """PyTorch's own offloading hooks."""
    recomputed, plain, x = build('norm, linear')
    with torch.autograd.graph.save_on_cpu():
        out = recomputed(x)
    assert_same(list(torch.autograd.grad(out.sum(), [x])), list(torch.autograd.grad(plain(x).sum(), [x])))


@each_pair
def test_torch_func(pair):
    """Function transforms refuse hooks: the layer is called as usual."""
    recomputed, plain, x = build(pair, dtype=torch.float64)
    results = []
    for model in (recomputed.double(), plain.double()):
        parameters = {name: p.detach() for name, p in model.named_parameters()}

        def loss(parameters: dict, x: Tensor, model: nn.Module = model) -> Tensor:
            return functional_call(model, parameters, x).square().sum()

        results.append([*grad(loss)(parameters, x.detach()).values(),
                        *vmap(grad(loss), (None, 0))(parameters, x.detach()[:, None]).values()])
    for a, e in zip(*results, strict=True):
        torch.testing.assert_close(a, e)


def test_hooks_that_are_disabled():
    recomputed, plain, x = build('norm, linear')
    with torch.autograd.graph.disable_saved_tensors_hooks('no hooks here'):
        out = recomputed(x)
    assert_same(list(torch.autograd.grad(out.sum(), [x])), list(torch.autograd.grad(plain(x).sum(), [x])))


def test_in_place_changes_are_noticed():
    """As by autograd: what the recipe needs must stay as it was."""
    recomputed, _, leaf = build('norm, linear')
    x = leaf * 1
    out = recomputed(x)
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        out.sum().backward()


def test_frozen_layer_saves_nothing_more():
    recomputed, plain, x = build('gelu, linear')
    recomputed.layer.requires_grad_(False)
    assert_same(evaluate_trained(recomputed, x), evaluate_trained(plain, x))


def evaluate_trained(model: nn.Module, x: Tensor) -> list[Tensor]:
    out = model(x)
    return [out.detach(), *torch.autograd.grad(out.sum(), [x, *(p for p in model.parameters() if p.requires_grad)])]


def test_without_gradients_nothing_is_marked():
    recomputed, plain, x = build('gelu, linear')
    with torch.no_grad():
        assert not hasattr(recomputable(nn.GELU(), x), 'recipe')
        assert torch.equal(recomputed(x), plain(x))
    assert torch.equal(recompute_input(recomputed.layer, x), recomputed.layer(x))  # not marked: as usual


def test_mlp_saves_one_wide_tensor():
    """What the activation was computed from, and neither its result nor the output of the norm before."""
    norm, mlp = LayerNorm(16), Mlp(16, 64)
    x = torch.randn(2, 50, 16, requires_grad=True)
    with SavedStorages(norm, mlp) as saved:
        out = mlp(norm(x))
    wide, narrow = 4 * 2 * 50 * 64, 4 * 2 * 50 * 16
    statistics = 2 * 4 * 2 * 50
    assert out.requires_grad and saved.num_bytes <= wide + narrow + statistics
