"""The contract that all backbones fulfill. A new network needs only a tiny config."""
import copy
import io
import math
import pickle

import pytest
import torch
from helpers import (
    HALF_DTYPES,
    each_network,
    fresh_model,
    gradients,
    images,
    raises,
    relative_error,
    shared_model,
    trained_model,
    without_dropout,
)
from tiny_configs import TINY_CONFIGS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from traffic import Counter, FusedAttention

from mmvit_backbones.backbones.truncation import prune_intermediate_layers
from mmvit_backbones.utils import versions
from mmvit_backbones.zoo.variants import VARIANTS

SIZES = [(1, 1), (33, 50), (70, 97)]


@pytest.mark.enumerates
def test_no_network_is_left_out():
    types = {arguments.get('type', network) for network, arguments in TINY_CONFIGS.items()}
    missing = {variant.family.backbone for variant in VARIANTS.values()} - types
    assert not missing, f'tests/goldens/FAMILY/tiny_configs.yml must have an entry for {missing}'


@pytest.mark.parametrize('size', SIZES, ids=str)
@each_network
@torch.no_grad()
def test_any_size(network, size):
    model = shared_model(network)
    features, pre_norm = model(images(*size)), model.forward_stages(images(*size))
    assert len(features) == len(model.out_indices) and len(pre_norm) == model.num_stages
    assert [x.shape for x in features] == [pre_norm[i].shape for i in model.out_indices]
    for stage, x in zip(model.out_indices, features):
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
def test_activation_checkpointing_gives_the_same_step(network):
    """Gradients, random numbers and running statistics are the same, also those of synchronized batch norms."""
    x = images()
    for drop_path_rate, convert in (0., nn.Sequential), (0.3, nn.SyncBatchNorm.convert_sync_batchnorm):
        steps = []
        for with_cp in (False, True):
            model = convert(fresh_model(network, drop_path_rate=drop_path_rate, with_cp=with_cp)).train()
            torch.manual_seed(1)
            steps.append({**gradients(model, x), **dict(model.named_buffers())})
        for name, expected in steps[0].items():
            torch.testing.assert_close(steps[1][name], expected, rtol=1e-5, atol=1e-7, msg=name)


def saved_bytes(network: str, **arguments) -> int:
    """Counts the bytes of the maps and of what is saved for the backward pass, on the meta device."""
    model, x = fresh_model(network, **arguments).train().to('meta'), images().to('meta')
    with Counter() as counter, FusedAttention():
        maps = model(x)
    assert maps  # which hold what is saved
    return counter.live


@pytest.mark.skipif(versions.is_older('2.6'), reason='checkpointing on the meta device requires PyTorch 2.6')
@each_network
def test_activation_checkpointing_saves_memory(network):
    assert saved_bytes(network, with_cp=True) < 0.6 * saved_bytes(network)


@each_network
def test_declared_blocks_are_those_that_run(network):
    """``block_types`` says what is compiled and drawn, and :meth:`run_block` what is checkpointed."""
    model, run = fresh_model(network).eval(), set()
    model.run_block = lambda block, *args: (run.add(block), block(*args))[1]
    model(images())
    blocks = {*model.named_blocks().values()}
    layers = [layer for stage in range(model.num_stages) for layer in model.stage_layers(stage)]
    assert blocks <= run and all(blocks.intersection(layer) for layer in layers), 'block_types'


@pytest.mark.parametrize('frozen_stages', [0, 1])
@each_network
def test_frozen_stages(network, frozen_stages):
    model = fresh_model(network, frozen_stages=frozen_stages, drop_path_rate=0.5).train()
    frozen = {id(p) for module in model.frozen_modules() for p in module.parameters()}
    assert frozen and all(p.requires_grad != (id(p) in frozen) for p in model.parameters())
    assert not any(module.training for root in model.frozen_modules() for module in root.modules())
    x = images()
    if frozen_stages:  # the frozen stage has no stochastic depth, so its map is reproducible
        assert torch.equal(model.forward_stages(x)[0], model.forward_stages(x)[0])
    if model.num_stages > frozen_stages:
        assert all(gradient is not None for gradient in gradients(model, x).values())


@each_network
def test_frozen_stages_of_a_truncated_network(network):
    """What remains stays frozen, although more stages were to be frozen than remain."""
    x = images()
    model = fresh_model(network, drop_path_rate=0.5, frozen_stages=shared_model(network).num_stages)
    prune_intermediate_layers(model, 1)
    model.train()
    model.freeze()
    assert not any(p.requires_grad for p in model.parameters())
    assert torch.equal(model(x)[0], model(x)[0])  # the drop paths are in evaluation mode
    assert {model.get_stage_depth(name)[0] for name, _ in model.named_parameters()} <= {0, 1, 2}


@each_network
def test_norm_eval(network):
    """Batch norms stay in evaluation mode and keep their running statistics; all parameters are trained."""
    model = fresh_model(network, norm_eval=True)
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    parameter_gradients = gradients(model.train(), images())
    assert model.training and not any(module.training for module in model.modules() if isinstance(module, _BatchNorm))
    assert all(torch.equal(value, statistics[name]) for name, value in model.named_buffers())
    assert all(gradient is not None for gradient in parameter_gradients.values())
    assert not any(module.training for module in model.eval().modules())


@each_network
def test_stochastic_depth_starts_at_0_and_does_not_exceed_the_given_rate(network):
    """Schedules differ between networks, because they follow the authors' code."""
    model = fresh_model(network, drop_path_rate=0.3)
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == 'DropPath']
    assert rates[0] == min(rates) == 0 and 0 < max(rates) < 0.3 + 1e-9


@pytest.mark.parametrize('out_indices', [(0, ), (0, -1), -1])
@each_network
@torch.no_grad()
def test_out_indices(network, out_indices):
    last = shared_model(network).num_stages - 1  # replaces -1 in the parameters of this test
    out_indices = last if out_indices == -1 else sorted({i % (last + 1) for i in out_indices})
    model = fresh_model(network, out_indices=out_indices).eval()
    keys = model.load_state_dict(shared_model(network).state_dict(), strict=False)
    assert not keys.missing_keys and {key.partition('.')[0] for key in keys.unexpected_keys} <= {
        f'norm{stage}' for stage in range(last + 1)}
    x = images()
    indices = (out_indices, ) if isinstance(out_indices, int) else out_indices
    expected = shared_model(network)(x)
    for i, found in zip(indices, model(x), strict=True):
        torch.testing.assert_close(found, expected[i])


@pytest.mark.parametrize('wrong', [None, 2.5, 'x', [], [None], {}], ids=str)
@each_network
def test_settings_of_wrong_types_are_named(network, wrong):
    arch = TINY_CONFIGS[network]['arch']
    for key in arch:
        if (key, wrong) not in [('mlp_ratio', 2.5), ('pyramid_dims', [])]:  # valid
            with raises(ValueError, 'arch', key, 'must', wrong):
                fresh_model(network, arch={**arch, key: wrong})


@pytest.mark.parametrize('network', [name for name, config in TINY_CONFIGS.items() if 'num_heads' in config['arch']])
def test_heads_that_do_not_divide_the_channels_are_named(network):
    arch = TINY_CONFIGS[network]['arch']
    heads = [7, *arch['num_heads'][1:]] if isinstance(arch['num_heads'], list) else 7
    with raises(ValueError, 'num_heads', '7'):
        fresh_model(network, arch={**arch, 'num_heads': heads})


@pytest.mark.parametrize('count', [0, -1, 1.])
@each_network
def test_wrong_depths_are_named_unless_the_network_is_right(network, count):
    """Cells may be missing from the stages of ViTAEv2, which still have their reduction cells."""
    arch = TINY_CONFIGS[network]['arch']
    key = 'depths' if 'depths' in arch else 'depth'
    depths = [[*arch[key][:i], count, *arch[key][i + 1:]] for i in range(4)] if key == 'depths' else [count]
    for wrong in depths:
        if count == 0 and 'reduction_heads' in arch:
            model = fresh_model(network, arch={**arch, key: wrong}, frozen_stages=1)
            assert len(model(images())) == 4
            totals = {model.get_layer_depth(name)[1] for name, _ in model.named_parameters()}
            assert len(totals) == 1
            continue
        with raises(ValueError, 'arch', key, 'must', wrong if key == 'depth' else str(wrong)):
            fresh_model(network, arch={**arch, key: wrong})


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


TOLERANCES = {torch.float64: 1e-4, torch.float16: 2e-2, torch.bfloat16: 0.1}


@pytest.mark.parametrize('dtype', [torch.float64, *HALF_DTYPES], ids=str)
@each_network
@torch.no_grad()
def test_dtypes(network, dtype):
    x = images()
    for actual, expected in zip(copy.deepcopy(shared_model(network)).to(dtype)(x.to(dtype)), shared_model(network)(x)):
        assert actual.dtype == dtype and relative_error(actual, expected) < TOLERANCES[dtype]


@pytest.mark.parametrize('dtype', HALF_DTYPES, ids=str)
@each_network
@torch.no_grad()
def test_autocast(network, dtype):
    model, x = shared_model(network), images()
    with torch.autocast('cpu', dtype):
        outs = model(x)
    for actual, expected in zip(outs, model(x)):
        assert relative_error(actual, expected) < TOLERANCES[dtype]


@pytest.mark.parametrize('dtype', HALF_DTYPES, ids=str)
@each_network
def test_autocast_trains(network, dtype):
    """Four steps of AdamW reduce the loss of a batch."""
    # The bfloat16 backward pass of oneDNN's convolutions reads uninitialized memory if a map has a single column, as in
    # RegionViT's last stage at 32 x 32 pixels; that of PyTorch 2.1 also overwrites memory, in ViTAEv2's.
    side = dict(RegionViT=128, ViTAEv2=64).get(network, 32)
    model, x = without_dropout(fresh_model(network, drop_path_rate=0.)).train(), images(side, side)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with torch.no_grad():
        targets = [torch.randn_like(out) for out in shared_model(network)(x)]
    losses = []
    for _ in range(4):
        with torch.autocast('cpu', dtype):
            outs = model(x)
        loss = sum((out.float() - target).square().mean() for out, target in zip(outs, targets))
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.98 * losses[0]


@each_network
@torch.no_grad()
def test_whole_networks_are_copied_and_pickled(network):
    """Copies are independent, and load checkpoints by their own hooks."""
    model, x = fresh_model(network).eval(), images(33, 50)
    expected, file = model(x), io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)]
    for parameter in model.parameters():
        parameter.zero_()
    for other in copies:
        other.load_state_dict(copies[0].state_dict())
        assert all(map(torch.equal, other(x), expected))


def empty_model(network: str) -> nn.Module:
    """Returns a network after ``to_empty``, whose weights are filled with NaN or -1."""
    with torch.device('meta'):
        model = fresh_model(network)
    model.to_empty(device='cpu')
    for tensor in model.state_dict().values():
        tensor.fill_(math.nan if tensor.is_floating_point() else -1)
    return model


@each_network
def test_networks_from_the_meta_device_need_only_a_state_dict(network):
    """Loaders of large models use ``to_empty`` or ``assign=True``."""
    expected = trained_model(network)
    loaded = empty_model(network)
    loaded.load_state_dict(expected.state_dict())
    with torch.device('meta'):
        assigned = fresh_model(network)
    assigned.load_state_dict(copy.deepcopy(expected.state_dict()), assign=True)
    x, results = images(70, 90), []
    for model in (expected, loaded, assigned):
        torch.manual_seed(1)  # seeds stochastic depth
        results.append([*gradients(model.train(), x).values(), *model.eval()(x)])
    for result in results[1:]:
        assert all(map(torch.equal, result, results[0]))


@each_network
def test_weights_after_to_empty_are_initialized_as_in_the_constructor(network):
    model = empty_model(network)
    model.reset_weights()
    state_dict = fresh_model(network).state_dict()
    for key, expected in state_dict.items():
        scale = expected.double().std(correction=0).item()  # 0 for constants, such as statistics of batch norms
        x = model.state_dict()[key].double()
        assert abs(x.mean() - expected.double().mean()).item() <= 8 * scale / x.numel()**0.5, key
        assert x.numel() == 1 or 0.3 * scale <= x.std(correction=0).item() <= 3 * scale + 1e-9, key
    loaded = empty_model(network)
    loaded.load_state_dict(state_dict)
    loaded.init_weights()  # MMEngine's runner also calls init_weights; loaded weights must not change
    assert all(torch.equal(x, state_dict[key]) for key, x in loaded.state_dict().items())


@each_network
def test_layer_depth(network):
    model = shared_model(network)
    depths = [model.get_layer_depth(f'backbone.{name}', 'backbone.') for name, _ in model.named_parameters()]
    layers, totals = zip(*depths)
    assert set(totals) == {totals[0]}
    assert set(layers) >= set(range(totals[0] - 1))  # the last layer has only output norms, if any
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (totals[0] - 1, totals[0])
