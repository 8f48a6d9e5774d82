"""What every backbone promises, held against the zoo: a new family brings no test of its own for this."""
import copy
from functools import cache

import pytest
import torch
from miniatures import MINIATURES
from mmengine.registry import MODELS

from mmvit_backbones.zoo import VARIANTS

SIZES = [(1, 1), (33, 50), (70, 97)]
each_network = pytest.mark.parametrize('network', sorted(MINIATURES))


@cache
def shared_model(network: str) -> torch.nn.Module:
    """One model per network for the tests that don't change it."""
    return fresh_model(network).eval()


def fresh_model(network: str, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build({'type': network, **MINIATURES[network], **arguments})


def images(height: int = 64, width: int = 96, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, height, width)


def gradients(model: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    sum(out.square().mean() for out in model(x)).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


def test_no_network_is_left_out():
    types = {arguments.get('type', network) for network, arguments in MINIATURES.items()}
    assert {variant.backbone['type'] for variant in VARIANTS.values()} == types


@pytest.mark.parametrize('size', SIZES, ids=str)
@each_network
@torch.no_grad()
def test_any_size(network, size):
    model = shared_model(network)
    maps, raw = model(images(*size)), model.forward_stages(images(*size))
    assert len(maps) == len(model.out_indices) and len(raw) == model.num_stages
    assert [x.shape for x in maps] == [raw[i].shape for i in model.out_indices]
    for stage, x in zip(model.out_indices, maps):
        assert x.shape[1:] == (model.channels[stage], *(-(-n // model.strides[stage]) for n in size))
        assert x.is_contiguous() and x.isfinite().all()


@each_network
@torch.no_grad()
def test_samples_are_independent(network):
    x = images(batch=3)
    together, alone = shared_model(network)(x), shared_model(network)(x[1:2])
    for a, b in zip(together, alone):
        assert relative_error(a[1:2], b) < 1e-4


@each_network
@torch.no_grad()
def test_empty_batch(network):
    assert all(x.shape[0] == 0 for x in shared_model(network)(images(batch=0)))


@each_network
def test_every_parameter_gets_a_gradient(network):
    for parameter, gradient in gradients(fresh_model(network, drop_path_rate=0.).train(), images()).items():
        assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0, parameter


@each_network
def test_recomputation_gives_the_same_gradients(network):
    x = images()
    for drop_path_rate in (0., 0.3):
        plain = fresh_model(network, drop_path_rate=drop_path_rate).train()
        recomputed = fresh_model(network, drop_path_rate=drop_path_rate, with_cp=True).train()
        torch.manual_seed(1)
        expected = gradients(plain, x)
        torch.manual_seed(1)
        actual = gradients(recomputed, x)
        for parameter, gradient in expected.items():
            torch.testing.assert_close(actual[parameter], gradient, rtol=1e-5, atol=1e-7, msg=parameter)


@each_network
def test_recomputation_keeps_less_for_backward(network):

    def kept(with_cp: bool) -> int:
        model, sizes = fresh_model(network, with_cp=with_cp).train(), {}
        ignore = {p.untyped_storage().data_ptr() for p in model.parameters()}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in ignore:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outs = model(images())
        return sum(sizes.values()) if outs else 0

    assert kept(True) < 0.6 * kept(False)


@pytest.mark.parametrize('frozen_stages', [0, 1])
@each_network
def test_frozen_stages(network, frozen_stages):
    model = fresh_model(network, frozen_stages=frozen_stages, drop_path_rate=0.5).train()
    frozen = {id(p) for module in model.frozen_modules() for p in module.parameters()}
    assert frozen and all(p.requires_grad != (id(p) in frozen) for p in model.parameters())
    assert not any(module.training for root in model.frozen_modules() for module in root.modules())
    x = images()
    if frozen_stages:  # without drop path in what is frozen, its map repeats
        assert torch.equal(model.forward_stages(x)[0], model.forward_stages(x)[0])
    if model.num_stages > frozen_stages:
        assert all(gradient is not None for gradient in gradients(model, x).values())


@each_network
def test_drop_path_rises_linearly(network):
    model = fresh_model(network, drop_path_rate=0.3)
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == 'DropPath']
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.3) and rates == sorted(rates)
    torch.testing.assert_close(torch.tensor(rates).diff().diff(), torch.zeros(len(rates) - 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize('out_indices', [(0, ), (0, -1), -1])
@each_network
@torch.no_grad()
def test_out_indices(network, out_indices):
    last = shared_model(network).num_stages - 1  # stands for -1 above
    out_indices = last if out_indices == -1 else sorted({i % (last + 1) for i in out_indices})
    model = fresh_model(network, out_indices=out_indices).eval()
    model.load_state_dict(shared_model(network).state_dict())
    x = images()
    indices = (out_indices, ) if isinstance(out_indices, int) else out_indices
    expected = shared_model(network)(x)
    for i, x in zip(indices, model(x), strict=True):
        torch.testing.assert_close(x, expected[i])


@pytest.mark.parametrize('argument, value', [('arch', 'gigantic'), ('arch', dict(depths=[1])), ('arch', 3),
                                             ('out_indices', (0, 9)), ('out_indices', (-1, )), ('out_indices', ()),
                                             ('frozen_stages', 9), ('drop_path_rate', 1.5)], ids=str)
@each_network
def test_bad_arguments_are_named(network, argument, value):
    with pytest.raises(ValueError, match=argument):
        fresh_model(network, **{argument: value})


@pytest.mark.parametrize('shape', [(2, 4, 32, 32), (3, 32, 32), (2, 3, 0, 32)], ids=str)
@each_network
def test_bad_images_are_named(network, shape):
    with pytest.raises(ValueError, match='images'):
        shared_model(network)(torch.zeros(shape))


@each_network
@torch.no_grad()
def test_memory_layouts(network):
    model, x = shared_model(network), images()
    expected = model(x)
    strided = torch.empty(2, 64, 3, 192).permute(0, 2, 1, 3)[..., ::2].copy_(x)
    assert not strided.is_contiguous()
    channels_last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    for other in (model(strided), channels_last(x.to(memory_format=torch.channels_last))):
        for a, b in zip(other, expected):
            assert relative_error(a, b) < 1e-4


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16], ids=str)
@each_network
@torch.no_grad()
def test_dtypes(network, dtype):
    x = images()
    tolerance = {torch.float64: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    for actual, expected in zip(copy.deepcopy(shared_model(network)).to(dtype)(x.to(dtype)), shared_model(network)(x)):
        assert actual.dtype == dtype and relative_error(actual, expected) < tolerance


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@each_network
def test_autocast_trains(network, dtype):
    model, x = fresh_model(network).train(), images()
    with torch.no_grad():
        expected = shared_model(network)(x)
    with torch.autocast('cpu', dtype):
        outs = model.eval()(x)
    for actual, e in zip(outs, expected):
        assert relative_error(actual, e) < (2e-2 if dtype == torch.float16 else 1e-1)
    sum(out.float().square().mean() for out in outs).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@each_network
def test_compiled_training_step(network):
    """One graph, forward and backward. Compiling kernels (inductor) would take minutes per network."""
    torch._dynamo.reset()
    model, x = fresh_model(network, drop_path_rate=0.).train(), images(60, 90, batch=1)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.  # a compiled graph draws other numbers
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
@each_network
@torch.no_grad()
def test_export(network):
    model, x = shared_model(network), images(60, 90, batch=1)
    exported = torch.export.export(model, (x, )).module()
    for a, b in zip(exported(x), model(x)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@each_network
@torch.no_grad()
def test_state_dict_round_trip(network, tmp_path):
    model = shared_model(network)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'model.pth'))
    loaded = fresh_model(network, init_cfg=init_cfg).eval()
    loaded.apply(lambda module: [p.data.zero_() for p in module.parameters(recurse=False)])
    loaded.init_weights()
    x = images(33, 50)
    for a, b in zip(loaded(x), model(x)):
        assert torch.equal(a, b)


@each_network
def test_layer_depth(network):
    model = shared_model(network)
    depths = {n: model.get_layer_depth(f'backbone.{n}', 'backbone.') for n, _ in model.named_parameters()}
    layers, totals = zip(*depths.values())
    assert set(totals) == {model.num_layers + 2}
    assert set(layers) >= set(range(model.num_layers + 1))  # the last is that of output norms, if there are any
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (totals[0] - 1, totals[0])
