"""ResT: output norms, initial weights and arguments."""
import pytest
import torch
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

from mmvit_backbones.zoo.loading import load_weights


def build(network: str = 'ResT', **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    model = MODELS.build(dict(type=network, **{**TINY_CONFIGS[network], **arguments})).eval()
    for stage in model.normed_stages:
        torch.nn.init.normal_(model.output_norm(stage).weight)
    return model


@pytest.mark.parametrize('first', [0, 1])
@torch.no_grad()
def test_norms_in_stream_change_later_stages(first):
    """Stages that are not returned have no norm."""
    images, indices = torch.randn(1, 3, 64, 64), range(first, 4)
    side, stream = (build(out_norm=out_norm, out_indices=indices) for out_norm in ('side', 'in_stream'))
    assert hasattr(stream, 'norm0') == (first == 0)
    (x, *_), after = stream(images), stream.forward_stages(images)[first + 1]
    assert torch.equal(side(images)[0], x) and not torch.allclose(side.forward_stages(images)[first + 1], after)
    for block in [stream.patch_embeds[first + 1], *stream.stages[first + 1]]:
        x = block(x)
    torch.testing.assert_close(x.permute(0, 3, 1, 2), after)


@pytest.mark.parametrize('network', ['ResT', 'ResTv2'])
@torch.no_grad()
def test_without_output_norms_features_are_pre_norm(network):
    model, without = build(network, out_norm='side'), build(network, out_norm=None)
    load_weights(without, model.state_dict(), 'model.pth')  # leaves the output norms out
    images = torch.randn(1, 3, 64, 64)
    for a, b, c in zip(without(images), without.forward_stages(images), model.forward_stages(images)):
        assert torch.equal(a, b) and torch.equal(a, c)


@pytest.mark.parametrize('network', ['ResT', 'ResTv2'])
def test_initial_weights(network):
    """As in the authors' code, only version 2 sets the biases of convolutions to 0."""
    model = MODELS.build(dict(type=network, **TINY_CONFIGS[network]))
    for layer in (model.stages[3][0].mlp.fc1, model.patch_embeds[3].conv):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.stages[3][0].mlp.fc1.bias.any() and model.patch_embeds[3].conv.bias.any() == (network == 'ResT')
