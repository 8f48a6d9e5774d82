"""Position embeddings, resized for other image sizes and for checkpoints of another image size."""
import pytest
import torch
from helpers import fresh_model


@pytest.mark.parametrize('network', ['ReMViTv2', 'ReViT', 'ViTAE-plain'])
@torch.no_grad()
def test_positions_are_the_same_if_resized_on_load_or_at_run_time(network):
    model, larger = fresh_model(network).eval(), fresh_model(network, img_size=128).eval()
    for name, parameter in model.named_parameters():
        if 'rel_pos' in name or 'pos_embed' in name:
            torch.nn.init.normal_(parameter)
    larger.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 128, 128)
    for a, b in zip(larger(images), model(images), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('network', ['RefinerViT', 'ReViT', 'ViTAE-plain'])
@torch.no_grad()
def test_positions_are_those_of_padded_images(network):
    model, whole = (fresh_model(network, img_size=side).eval() for side in (100, 112))
    for name, parameter in model.named_parameters():
        if 'pos_embed' in name:
            torch.nn.init.normal_(parameter)
    whole.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 100, 100)
    for a, b in zip(model(images), whole(images), strict=True):
        assert torch.equal(a, b)
