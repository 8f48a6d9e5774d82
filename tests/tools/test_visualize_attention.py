"""tools/visualize_attention.py: what a block looks at."""
import runpy

import pytest
import torch
from helpers import ROOT, fresh_model

from mmvit_backbones import get_model


@pytest.fixture(scope='module')
def visualize():
    return runpy.run_path(str(ROOT / 'tools/visualize_attention.py'))


@pytest.mark.parametrize('network', ['ReMViTv2', 'ReSwin', 'ReViT'])
@torch.no_grad()
def test_attention_is_shared_out(visualize, network):
    """In every block, what one place sees adds up to 1, less padding; windows that it is not in are not shown."""
    model, image = fresh_model(network).eval(), 255 * torch.rand(3, 100, 132)
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
def test_one_figure(visualize, looking, tmp_path):
    torch.save(get_model('remvitv2_tiny').state_dict(), tmp_path / 'weights.pth')
    image = next((ROOT / 'data/coco_mini/val').glob('*.jpg'))
    visualize['main'](visualize['get_parser']().parse_args([
        str(image), '--network', 'remvitv2_tiny', '--out', str(tmp_path / 'out.png'), *looking, '--size', '64',
        '--blocks', '1', '8', '--checkpoint', str(tmp_path / 'weights.pth')]))
    assert (tmp_path / 'out.png').stat().st_size > 10_000
