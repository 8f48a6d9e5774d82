"""ViTAE and ViTAEv2: memory and the class token."""
import pytest
import torch
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.utils.measure import Counter


@pytest.mark.parametrize('network', ['ViTAE', 'ViTAEv2'])
@torch.no_grad()
def test_memory_is_linear_in_the_number_of_pixels(network):
    """At 768 x 768 pixels, the third stage has 2,304 tokens; a full attention map would dominate the memory."""
    model, peaks = MODELS.build(dict(type=network, **TINY_CONFIGS[network])).eval(), []
    for side in (384, 768):
        with Counter() as live:
            model(torch.randn(1, 3, side, side))
        peaks.append(live.peak)
    assert peaks[1] < 4.1 * peaks[0]


@torch.no_grad()
def test_class_token_matters_but_is_not_convolved():
    model = MODELS.build(TINY_CONFIGS['ViTAE, plain']).eval()
    images = torch.randn(1, 3, 64, 64)
    before = model(images)[0]
    torch.nn.init.normal_(model.patch_embed.class_token)
    changed = (model(images)[0] - before).abs().amax(1)[0]
    # Attention spreads the change evenly; convolutions would change the first positions most.
    assert changed.min() > 0 and changed.max() < 20 * changed.min()
