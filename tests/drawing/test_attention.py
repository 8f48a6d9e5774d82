"""The attention maps of blocks are recorded and drawn."""
import numpy as np
import pytest
import torch
from helpers import ROOT, each_network, fresh_model, raises
from PIL import Image
from tiny_configs import TINY_CONFIGS
from torch import nn

from mmvit.drawing import attention, draw_attention
from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.layers.plain_attention import GlobalAttention

# Maps whose sum can exceed 1: ResT applies instance norm, Refiner-ViT adds the previous maps and refines the sums.
UNNORMALIZED = 'ResT', 'RefinerViT'


@pytest.mark.parametrize('network', [
    network for network in sorted(TINY_CONFIGS.keys() - {'RegionViT'}) if 'num_heads' in TINY_CONFIGS[network]['arch']])
def test_attention_sums_to_at_most_one(network):
    """Attention to class tokens and padding is not drawn, so the sum can be below 1."""
    model, image = fresh_model(network).eval(), torch.rand(1, 3, 96, 128)
    blocks = attention.record(model, image, attention.place((50, 60), (128, 96), (96, 128)))
    assert list(blocks) == [name for name, block in model.named_blocks().items() if hasattr(block, 'attn')]
    for seen in blocks.values():
        assert seen.isfinite().all() and seen.any() and 96 / seen.shape[1] == 128 / seen.shape[2]
        if network not in UNNORMALIZED:
            total = seen.sum((1, 2))
            assert (seen >= 0).all() and (total > 0.1).all() and (total < 1 + 1e-5).all()


@each_network
def test_networks_without_attention_are_refused(network):
    model, image = fresh_model(network).eval(), torch.rand(1, 3, 64, 64)
    for block in model.named_blocks().values():
        block.attn = nn.Identity()
    with raises(UsageError, 'attention' if network != 'RegionViT' else 'regional', type(model).__name__):
        attention.record(model, image, image[0, 0])


@torch.no_grad()
def test_maps_equal_the_softmax():
    model, image = fresh_model('ViTAE').eval(), torch.rand(1, 3, 96, 128)
    cell, inputs = model.cells[1].attn, []
    assert isinstance(cell, GlobalAttention)
    hook = cell.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    queries = attention.place((16 * 3 + 2, 16 * 2 + 5), (128, 96), (96, 128))
    blocks = attention.record(model, image, queries)
    hook.remove()
    query, key, _ = cell.qkv(inputs[0]).flatten(1, 2).unflatten(-1, (3, cell.num_heads, -1))[0].permute(1, 2, 0, 3)
    expected = (query @ key.transpose(1, 2) * key.shape[-1]**-0.5).softmax(-1)[:, 2 * 8 + 3]
    torch.testing.assert_close(blocks['cells.1'].flatten(1), expected)


@pytest.mark.slow
def test_a_row_per_block_shows_the_attention_of_the_query(tmp_path):
    torch.save(get_model('remvitv2_tiny').state_dict(), tmp_path / 'weights.pth')
    image, drawn = str(ROOT / 'data/coco_mini/val/000000000285.jpg'), []
    for options in dict(blocks=[8]), dict(blocks=[1, 8]), dict(blocks=[1, 8], query=(100, 90)):
        draw_attention(image, 'remvitv2_tiny', str(tmp_path / 'out.png'), size=64,
                       checkpoint=str(tmp_path / 'weights.pth'), **options)
        with Image.open(tmp_path / 'out.png') as drawing:
            drawn.append(np.array(drawing))
    one, two, other = drawn
    assert 1.5 * len(one) < len(two) and (two != other).any()


@pytest.mark.parametrize('image, network, options, words', [
    ('data/coco_mini/val', 'rest_lite', {}, ['image', 'val', 'folder']),
    ('README.md', 'rest_*', {}, ['rest_*', 'rest_lite']),
    ('data/coco_mini/val/000000000285.jpg', 'regionvit_tiny', {}, ['RegionViT']),
    ('README.md', 'rest_lite', dict(checkpoint='a.pth', pretrained=True), ['a.pth', 'pretrained']),
], ids=['image', 'network', 'kind', 'weights'])
def test_wrong_arguments_are_refused(image, network, options, words, tmp_path):
    with raises(UsageError, *words):
        draw_attention(str(ROOT / image), network, str(tmp_path / 'a.png'), **options)


def test_position_of_the_query():
    """A pixel of the image file is one position of the resized image."""
    for query, position in ((0, 0), (0, 0)), ((299, 199), (222, 350)), ((150, 50), (56, 176)):
        queries = attention.place(query, (300, 200), (224, 352))
        assert queries.sum() == 1 and queries[position] == 1
    for query in (300, 0), (0, 200), (-1, 0), (0, -1):
        with raises(UsageError, f'{query[0]},{query[1]}', '300 x 200'):
            attention.place(query, (300, 200), (224, 352))
