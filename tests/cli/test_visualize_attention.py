"""`mmvit draw attention` draws the attention maps of blocks."""

import pytest
import torch
from helpers import ROOT, fresh_model, raises
from tiny_configs import TINY_CONFIGS
from verbs import call, module_of

from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.layers.attention import GlobalAttention

KINDS = {'ReViT': ['attention', 'residual'], 'ReMViTv2': ['attention', 'residual'], 'ReSwin': ['attention', 'residual'],
         'RefinerViT': ['raw', 'refined'], 'RegionViT': ['regional', 'local']}
# Maps whose sum can exceed 1: ResT applies instance norm, Refiner-ViT adds the previous maps and refines the sums, and
# RegionViT's regional maps are repeated for every local token of a region.
UNNORMALIZED = {'ResT': ['attention'], 'RefinerViT': ['raw', 'refined'], 'RegionViT': ['regional']}


@pytest.fixture(scope='module')
def visualize():
    return vars(module_of('draw attention'))


@pytest.mark.parametrize('network', sorted(TINY_CONFIGS))
def test_attention_sums_to_at_most_one(visualize, network):
    """Attention to class tokens and padding is not drawn, so the sum can be below 1."""
    model, image = fresh_model(network).eval(), torch.rand(1, 3, 96, 128)
    blocks = visualize['record'](model, image, visualize['place']((50, 60), (128, 96), (96, 128)))
    pairs = 2 if network == 'RefinerViT' else 1
    assert len(blocks) * pairs == sum(hasattr(module, 'attn') for module in model.modules())
    for maps in blocks.values():
        assert list(maps) == KINDS.get(network, ['attention'])
        for kind, seen in maps.items():
            assert seen.isfinite().all() and seen.any() and 96 / seen.shape[1] == 128 / seen.shape[2]
            if kind != 'residual' and kind not in UNNORMALIZED.get(network, []):
                total = seen.sum((1, 2))
                assert (seen >= 0).all() and (total > 0.1).all() and (total < 1 + 1e-5).all()


@torch.no_grad()
def test_maps_equal_the_softmax(visualize):
    model, image = fresh_model('ViTAE').eval(), torch.rand(1, 3, 96, 128)
    cell, inputs = model.cells[1].attn, []
    assert isinstance(cell, GlobalAttention)
    hook = cell.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    queries = visualize['place']((16 * 3 + 2, 16 * 2 + 5), (128, 96), (96, 128))
    blocks = visualize['record'](model, image, queries)
    hook.remove()
    query, key, _ = cell.qkv(inputs[0]).flatten(1, 2).unflatten(-1, (3, cell.num_heads, -1))[0].permute(1, 2, 0, 3)
    expected = (query @ key.transpose(1, 2) * key.shape[-1]**-0.5).softmax(-1)[:, 2 * 8 + 3]
    torch.testing.assert_close(blocks['cells.1']['attention'].flatten(1), expected)


@pytest.mark.slow
@pytest.mark.parametrize('position', [('--query', '100,90'), ('--evidence', '-1')], ids=lambda words: words[0])
def test_figure_is_written(visualize, position, tmp_path):
    torch.save(get_model('remvitv2_tiny').state_dict(), tmp_path / 'weights.pth')
    image = next((ROOT / 'data/coco_mini/val').glob('*.jpg'))
    visualize['main'](visualize['get_parser']().parse_args([
        str(image), '--network', 'remvitv2_tiny', '--out', str(tmp_path / 'out.png'), *position, '--size', '64',
        '--blocks', '1', '8', '--checkpoint', str(tmp_path / 'weights.pth')]))
    assert (tmp_path / 'out.png').stat().st_size > 10_000


@pytest.mark.parametrize('image, options, words', [
    ('data/coco_mini/val', ['--network', 'rest_lite'], ['image', 'val', 'folder']),
    ('README.md', ['--network', 'rest_*'], ['rest_*', 'rest_lite']),
    ('README.md', ['--network', 'rest_lite', '--checkpoint', 'a.pth', '--pretrained'], ['combined', '--pretrained']),
], ids=['image', 'network', 'weights'])
def test_mistakes_are_reported(image, options, words):
    with raises(UsageError, *words):
        call('draw attention', ROOT / image, *options)
