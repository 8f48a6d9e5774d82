"""What every backbone promises, held against the zoo: a new family brings no test of its own for this."""
import copy
from functools import cache

import pytest
import torch

from mmvit_backbones import get_model, list_models
from mmvit_backbones.zoo import VARIANTS

# Families grow to dozens of variants: one of each kind of network runs everywhere, the others only where it matters.
SMALLEST = {}
for _variant in sorted(VARIANTS.values(), key=lambda v: v.num_params):
    SMALLEST.setdefault((_variant.backbone['type']), _variant.name)
SMALLEST = sorted(SMALLEST.values())
SIZES = [(1, 1), (33, 50), (70, 97)]


@cache
def shared_model(name: str) -> torch.nn.Module:
    """One model per variant for the tests that don't change it."""
    torch.manual_seed(0)
    return get_model(name, task='backbone').eval()


def fresh_model(name: str, **overrides) -> torch.nn.Module:
    torch.manual_seed(0)
    return get_model(name, task='backbone', **overrides)


def images(height: int = 64, width: int = 96, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, height, width)


def gradients(model: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    sum(out.square().mean() for out in model(x)).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize('name', list_models())
def test_builds_with_published_head(name):
    with torch.device('meta'):
        model = get_model(name)
        assert model(torch.rand(1, 3, 224, 224)).shape == (1, 1000)


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_any_size(name, size):
    model = shared_model(name)
    maps, raw = model(images(*size)), model.forward_stages(images(*size))
    assert len(maps) == len(model.out_indices) and len(raw) == model.num_stages
    assert [x.shape for x in maps] == [raw[i].shape for i in model.out_indices]
    for stage, x in zip(model.out_indices, maps):
        stride = 4 * 2**stage
        assert x.shape[2:] == tuple(-(-n // stride) for n in size)
        assert x.is_contiguous() and x.isfinite().all()


@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_samples_are_independent(name):
    x = images(batch=3)
    together, alone = shared_model(name)(x), shared_model(name)(x[1:2])
    for a, b in zip(together, alone):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_empty_batch(name):
    assert [x.shape[0] for x in shared_model(name)(images(batch=0))] == [0] * 4


@pytest.mark.parametrize('name', SMALLEST)
def test_every_parameter_gets_a_gradient(name):
    for parameter, gradient in gradients(fresh_model(name).train(), images()).items():
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0, parameter


@pytest.mark.parametrize('name', SMALLEST)
def test_recomputation_gives_the_same_gradients(name):
    x = images()
    for drop_path_rate in (0., 0.3):
        plain = fresh_model(name, drop_path_rate=drop_path_rate).train()
        recomputed = fresh_model(name, drop_path_rate=drop_path_rate, with_cp=True).train()
        torch.manual_seed(1)
        expected = gradients(plain, x)
        torch.manual_seed(1)
        actual = gradients(recomputed, x)
        for parameter, gradient in expected.items():
            torch.testing.assert_close(actual[parameter], gradient, rtol=1e-5, atol=1e-7, msg=parameter)


@pytest.mark.parametrize('name', SMALLEST)
def test_recomputation_keeps_less_for_backward(name):

    def kept(with_cp: bool) -> int:
        model, sizes = fresh_model(name, with_cp=with_cp).train(), {}
        ignore = {p.untyped_storage().data_ptr() for p in model.parameters()}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in ignore:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outs = model(images())
        return sum(sizes.values()) if outs else 0

    assert kept(True) < 0.5 * kept(False)


@pytest.mark.parametrize('frozen_stages', [0, 2])
@pytest.mark.parametrize('name', SMALLEST)
def test_frozen_stages(name, frozen_stages):
    model = fresh_model(name, frozen_stages=frozen_stages, drop_path_rate=0.5).train()
    frozen = {id(p) for module in model.frozen_modules() for p in module.parameters()}
    assert frozen and all(p.requires_grad != (id(p) in frozen) for p in model.parameters())
    assert not any(module.training for root in model.frozen_modules() for module in root.modules())
    x = images()
    if frozen_stages == 2:  # without drop path in what is frozen, its maps repeat
        assert torch.equal(model.forward_stages(x)[1], model.forward_stages(x)[1])
    assert all(gradient is not None for gradient in gradients(model, x).values())


@pytest.mark.parametrize('name', SMALLEST)
def test_drop_path_rises_linearly(name):
    model = fresh_model(name, drop_path_rate=0.3)
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == 'DropPath']
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.3) and rates == sorted(rates)
    torch.testing.assert_close(torch.tensor(rates).diff().diff(), torch.zeros(len(rates) - 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize('out_indices', [(0, ), (1, 3), 2])
@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_out_indices(name, out_indices):
    model = fresh_model(name, out_indices=out_indices).eval()
    model.load_state_dict(shared_model(name).state_dict())
    x = images()
    indices = (out_indices, ) if isinstance(out_indices, int) else out_indices
    expected = shared_model(name)(x)
    for i, x in zip(indices, model(x), strict=True):
        torch.testing.assert_close(x, expected[i])


@pytest.mark.parametrize('argument, value', [('arch', 'gigantic'), ('arch', dict(depths=[1])), ('arch', 3),
                                             ('out_indices', (0, 4)), ('out_indices', (-1, )), ('out_indices', ()),
                                             ('frozen_stages', 9), ('drop_path_rate', 1.5)], ids=str)
@pytest.mark.parametrize('name', SMALLEST)
def test_bad_arguments_are_named(name, argument, value):
    with pytest.raises(ValueError, match=argument):
        get_model(name, task='backbone', **{argument: value})


@pytest.mark.parametrize('shape', [(2, 4, 32, 32), (3, 32, 32), (2, 3, 0, 32)], ids=str)
@pytest.mark.parametrize('name', SMALLEST)
def test_bad_images_are_named(name, shape):
    with pytest.raises(ValueError, match='images'):
        shared_model(name)(torch.zeros(shape))


@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_memory_layouts(name):
    model, x = shared_model(name), images()
    expected = model(x)
    strided = torch.empty(2, 64, 3, 192).permute(0, 2, 1, 3)[..., ::2].copy_(x)
    assert not strided.is_contiguous()
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    for other in (model(strided), channels_last(x.to(memory_format=torch.channels_last))):
        for a, b in zip(other, expected):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_dtypes(name, dtype):
    x = images()
    tolerance = {torch.float64: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    for actual, expected in zip(copy.deepcopy(shared_model(name)).to(dtype)(x.to(dtype)), shared_model(name)(x)):
        assert actual.dtype == dtype and relative_error(actual, expected) < tolerance


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', SMALLEST)
def test_autocast_trains(name, dtype):
    model, x = fresh_model(name).train(), images()
    with torch.no_grad():
        expected = shared_model(name)(x)
    with torch.autocast('cpu', dtype):
        outs = model.eval()(x)
    for actual, e in zip(outs, expected):
        assert relative_error(actual, e) < (2e-2 if dtype == torch.float16 else 1e-1)
    sum(out.float().square().mean() for out in outs).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_compile(name):
    torch._dynamo.reset()
    model, x = shared_model(name), images(60, 90, batch=1)
    compiled = torch.compile(model, fullgraph=True)
    for a, b in zip(compiled(x), model(x)):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALLEST)
def test_compiled_training_step(name):
    torch._dynamo.reset()
    model, x = fresh_model(name, drop_path_rate=0.).train(), images(60, 90, batch=1)
    expected = gradients(model, x)
    model.zero_grad()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    actual = gradients_of_compiled(compiled, model, x)
    for parameter, gradient in expected.items():
        torch.testing.assert_close(actual[parameter], gradient, rtol=1e-3, atol=1e-5, msg=parameter)


def gradients_of_compiled(compiled, model, x) -> dict[str, torch.Tensor]:
    sum(out.square().mean() for out in compiled(x)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_export(name):
    model, x = shared_model(name), images(60, 90, batch=1)
    exported = torch.export.export(model, (x, )).module()
    for a, b in zip(exported(x), model(x)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', SMALLEST)
@torch.no_grad()
def test_state_dict_round_trip(name, tmp_path):
    model = shared_model(name)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    loaded = get_model(name, task='backbone', checkpoint=str(tmp_path / 'model.pth')).eval()
    x = images(33, 50)
    for a, b in zip(loaded(x), model(x)):
        assert torch.equal(a, b)


@pytest.mark.parametrize('name', SMALLEST)
def test_layer_depth(name):
    model = shared_model(name)
    depths = {n: model.get_layer_depth(f'backbone.{n}', 'backbone.') for n, _ in model.named_parameters()}
    layers, totals = zip(*depths.values())
    assert set(totals) == {model.num_layers + 2}
    assert set(layers) == set(range(model.num_layers + 2))
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (totals[0] - 1, totals[0])
