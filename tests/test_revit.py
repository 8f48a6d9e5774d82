"""What is particular to attention residuals: maps in memory, half precision, positions, the gate, the tools."""
import copy
import runpy
from pathlib import Path

import pytest
import torch
from golden import fill_state_dict
from mmengine.registry import MODELS
from test_goldens import GOLDENS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.backbones.remvitv2 import upsample
from mmvit_backbones.backbones.reswin import select_maps
from mmvit_backbones.checkpoints import revit
from mmvit_backbones.measure import count_memory

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
NETWORKS = ['ReMViTv2', 'ReSwin', 'ReViT']
each_network = pytest.mark.parametrize('network', NETWORKS)


def build(network: str, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.build(dict(type=network, **{**TINY_CONFIGS[network], **arguments})).eval()


def without_residuals(model: torch.nn.Module) -> torch.nn.Module:
    """The same network with plain attention."""
    run = model.run_block
    model.run_block = lambda block, x, residual, *rest: run(block, x, None, *rest)
    return model


# ---- maps in memory


@pytest.mark.parametrize('size', [(32, 48), (31, 48), (31, 47)], ids=str)
def test_previous_logits_take_the_grids_of_the_block(size):
    """From block 0 to 1 the grid of the keys doubles, or grows to one less; every key is met."""
    model = build('ReMViTv2')
    _, logits = model.blocks[0](torch.randn(1, *size, 16), None, model.gate())
    logits = logits.detach().requires_grad_()
    attention = model.blocks[1].attn
    x = torch.randn(1, *size, 16)
    query_grid = -(-size[0] // 2), -(-size[1] // 2)
    resized = attention.pool_logits(logits, x)
    for dim, length in enumerate(query_grid, start=4):
        resized = upsample(resized, dim, length)
    assert resized.shape == (1, 1, *query_grid, *query_grid)
    resized.sum().backward()
    assert (logits.grad > 0).all()


@each_network
def test_one_map_per_block_is_kept_for_backward(network):
    """ReSwin, whose gate is a constant, saves the softmax; the others save the logits and recompute it."""
    model, saved, sizes = build(network, drop_path_rate=0.), [], []
    for module in model.modules():
        if hasattr(module, 'attn'):
            module.register_forward_hook(lambda block, _, out: sizes.append(out[1].numel()))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        side = 352 if network == 'ReViT' else 160  # so large that nothing else has the size of the largest maps
        outs = model(torch.randn(1, 3, side, side))
    maps = {t.untyped_storage()._cdata for t in saved if t.numel() >= max(sizes)}
    assert outs and len(maps) <= sizes.count(max(sizes))


def test_depth_adds_nothing_to_the_peak_of_inference():
    images = torch.empty(1, 3, 256, 256, device='meta')
    peaks = [count_memory(build('ReViT', arch=dict(TINY_CONFIGS['ReViT']['arch'], depth=depth)).to('meta'), images)
             for depth in (2, 4)]
    assert peaks[0]['inference'] == peaks[1]['inference'] and peaks[0]['kept'] < peaks[1]['kept']


def test_selection_between_stages():
    logits = torch.randn(2, 4, 3, 9, 9)
    assert torch.equal(select_maps(logits, 1, 6).flatten(1, 2), logits.flatten(1, 2)[:, ::2])
    assert torch.equal(select_maps(logits, 1, 5).flatten(1, 2), logits.flatten(1, 2)[:, [0, 2, 4, 7, 9]])


# ---- precision


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@each_network
@torch.no_grad()
def test_half_precision_costs_no_more_than_with_plain_attention(network, dtype):
    images, errors = torch.randn(2, 3, 64, 96), []
    for model in (build(network), without_residuals(build(network))):
        for name, parameter in model.named_parameters():  # logits as large as those of a trained network
            if name.endswith('qkv.weight'):
                parameter.mul_(10)
        exact = copy.deepcopy(model).double()
        with torch.autocast('cpu', dtype):
            actual = model(images)[-1]
        expected = exact(images.double())[-1]
        errors.append(((actual - expected).norm() / expected.norm()).item())
    assert errors[0] < 2 * errors[1]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@each_network
@torch.no_grad()
def test_residual_stays_in_the_autocast_dtype(network, dtype):
    model, dtypes = build(network), []
    for module in model.modules():
        if hasattr(module, 'attn'):
            module.register_forward_hook(lambda block, _, out: dtypes.append(out[1].dtype))
    with torch.autocast('cpu', dtype):
        model(torch.randn(1, 3, 64, 64))
    assert dtypes and set(dtypes) == {dtype}


# ---- positions, gate, checkpoints


@pytest.mark.parametrize('network', ['ReMViTv2', 'ReViT'])
@torch.no_grad()
def test_positions_are_resized_alike_on_load_and_at_run_time(network):
    model = build(network)
    for name, parameter in model.named_parameters():
        if 'rel_pos' in name or 'pos_embed' in name:
            torch.nn.init.normal_(parameter)
    larger = build(network, img_size=96)
    larger.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 96, 96)
    for a, b in zip(larger(images), model(images), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('network, frozen_stages', [('ReViT', 1), ('ReMViTv2', 2)])
def test_gate_is_frozen_with_the_first_blocks_that_read_it(network, frozen_stages):
    assert build(network, frozen_stages=frozen_stages - 1).gate.weight.requires_grad
    assert not build(network, frozen_stages=frozen_stages).gate.weight.requires_grad


@pytest.mark.parametrize('name', ['revit', 'remvitv2'])
@pytest.mark.parametrize('wrap', [
    lambda w: dict(model=w), lambda w: dict(model_state_dict=w, epoch=3, optimizer_state_dict={}),
    lambda w: dict(model={f'module.{key}': value for key, value in w.items()}),
], ids=['model', 'model_state_dict', 'module'])
def test_wrappers(name, wrap):
    weights = fill_state_dict(GOLDENS[f'golden_op_{name}_blocks']['state_dict'])
    convert = getattr(revit, f'convert_{name}')
    assert convert(wrap(weights)).keys() == convert(weights).keys()
    with pytest.raises(KeyError, match='blocks.0.extra'):
        convert(dict(weights, **{'blocks.0.extra': weights['alpha']}))


@pytest.mark.parametrize('network, arguments, told', [
    ('ReViT', dict(img_size=8), 'img_size'),
    ('ReViT', dict(arch=dict(TINY_CONFIGS['ReViT']['arch'], num_heads=5)), 'num_heads'),
    ('ReMViTv2', dict(img_size=0), 'img_size'),
    ('ReMViTv2', dict(arch=dict(TINY_CONFIGS['ReMViTv2']['arch'], num_heads=[1, 2, 4])), 'num_heads'),
])
def test_bad_settings_are_named(network, arguments, told):
    with pytest.raises(ValueError, match=told):
        build(network, **arguments)


# ---- what a block looks at


@pytest.fixture(scope='module')
def visualize():
    return runpy.run_path(str(TOOLS / 'visualize_attention.py'))


@each_network
@torch.no_grad()
def test_attention_is_shared_out(visualize, network):
    """In every block, what one place sees adds up to 1, less padding; windows that it is not in are not shown."""
    model, image = build(network), 255 * torch.rand(3, 100, 132)
    blocks = visualize['record'](model, image)
    looking = visualize['place']((50, 60), (132, 100), image.shape[1:])
    assert len(blocks) == sum(hasattr(module, 'attn') for module in model.modules())
    for block in blocks:
        seen = block.seen(looking, softmax=True)
        total = seen.nansum((1, 2))
        assert (total > 0.3).all() and (total < 1 + 1e-5).all() and (network == 'ReSwin' or (total > 1 - 1e-5).all())
        assert seen.isnan().any() == (network == 'ReSwin' and max(block.grid) > block.side)
        assert block.seen(looking, softmax=False).shape == seen.shape


@pytest.mark.slow
@pytest.mark.parametrize('looking', [('--query', '100,90'), ('--evidence', '-1')], ids=lambda words: words[0])
def test_one_figure(visualize, looking, tmp_path, root):
    from mmvit_backbones import get_model
    torch.save(get_model('remvitv2_tiny').state_dict(), tmp_path / 'weights.pth')
    image = next((root / 'data/coco_mini/val').glob('*.jpg'))
    visualize['main'](visualize['get_parser']().parse_args([
        str(image), '--network', 'remvitv2_tiny', '--out', str(tmp_path / 'out.png'), *looking, '--size', '64',
        '--blocks', '1', '8', '--checkpoint', str(tmp_path / 'weights.pth')]))
    assert (tmp_path / 'out.png').stat().st_size > 10_000
