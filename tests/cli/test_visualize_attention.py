"""mmvit draw attention: attention of blocks."""

import pytest
import torch
from helpers import ROOT, fresh_model
from tiny_configs import TINY_CONFIGS
from verbs import module_of

from mmvit_backbones import get_model
from mmvit_backbones.layers.attention import GlobalAttention

KINDS = {'ReViT': ['attention', 'residual'], 'ReMViTv2': ['attention', 'residual'], 'ReSwin': ['attention', 'residual'],
         'RefinerViT': ['raw', 'refined'], 'RegionViT': ['regional', 'local']}
# Instance-normalized, refined, counted for every local token of a region, of samples between tokens and outside.
NOT_SHARED_OUT = {'ResT': ['attention'], 'RefinerViT': ['raw', 'refined'], 'RegionViT': ['regional']}


@pytest.fixture(scope='module')
def visualize():
    return vars(module_of('draw attention'))


@pytest.mark.parametrize('network', sorted(TINY_CONFIGS))
def test_attention_is_shared_out(visualize, network):
    """In every block, the weights of a position sum to 1, less class token and padding, and respect its window."""
    model, image = fresh_model(network).eval(), torch.rand(1, 3, 96, 128)
    blocks = visualize['record'](model, image, visualize['place']((50, 60), (128, 96), (96, 128)))
    pairs = 2 if network == 'RefinerViT' else 1
    assert len(blocks) * pairs == sum(hasattr(module, 'attn') for module in model.modules())
    for maps in blocks.values():
        assert list(maps) == KINDS.get(network, ['attention'])
        for kind, seen in maps.items():
            assert seen.isfinite().all() and seen.any() and 96 / seen.shape[1] == 128 / seen.shape[2]
            if kind != 'residual' and kind not in NOT_SHARED_OUT.get(network, []):
                total = seen.sum((1, 2))
                assert (seen >= 0).all() and (total > 0.1).all() and (total < 1 + 1e-5).all()


@torch.no_grad()
def test_maps_are_the_softmax(visualize):
    model, image = fresh_model('ViTAE').eval(), torch.rand(1, 3, 96, 128)
    cell, inputs = model.cells[1].attn, []
    assert isinstance(cell, GlobalAttention)
    hook = cell.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    looking = visualize['place']((16 * 3 + 2, 16 * 2 + 5), (128, 96), (96, 128))
    blocks = visualize['record'](model, image, looking)
    hook.remove()
    query, key, _ = cell.qkv(inputs[0]).flatten(1, 2).unflatten(-1, (3, cell.num_heads, -1))[0].permute(1, 2, 0, 3)
    expected = (query @ key.transpose(1, 2) * key.shape[-1]**-0.5).softmax(-1)[:, 2 * 8 + 3]
    torch.testing.assert_close(blocks['cells.1']['attention'].flatten(1), expected)


@pytest.mark.slow
@pytest.mark.parametrize('looking', [('--query', '100,90'), ('--evidence', '-1')], ids=lambda words: words[0])
def test_one_figure(visualize, looking, tmp_path):
    torch.save(get_model('remvitv2_tiny').state_dict(), tmp_path / 'weights.pth')
    image = next((ROOT / 'data/coco_mini/val').glob('*.jpg'))
    visualize['main'](visualize['get_parser']().parse_args([
        str(image), '--network', 'remvitv2_tiny', '--out', str(tmp_path / 'out.png'), *looking, '--size', '64',
        '--blocks', '1', '8', '--checkpoint', str(tmp_path / 'weights.pth')]))
    assert (tmp_path / 'out.png').stat().st_size > 10_000
