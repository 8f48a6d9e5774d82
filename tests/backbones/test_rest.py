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


@torch.no_grad()
def test_norms_in_stream_change_later_stages():
    images = torch.randn(1, 3, 64, 64)
    side, stream = build(out_norm='side'), build(out_norm='in_stream')
    assert torch.equal(side(images)[0], stream(images)[0])
    assert not torch.allclose(side.forward_stages(images)[1], stream.forward_stages(images)[1])
    x = stream(images)[0]
    for block in [stream.patch_embeds[1], *stream.stages[1]]:
        x = block(x)
    torch.testing.assert_close(x.permute(0, 3, 1, 2), stream.forward_stages(images)[1])


@torch.no_grad()
def test_stages_that_are_not_returned_have_no_norm():
    images = torch.randn(1, 3, 64, 64)
    side, stream = (build(out_norm=out_norm, out_indices=(1, 2, 3)) for out_norm in ('side', 'in_stream'))
    assert not hasattr(stream, 'norm0')
    assert torch.equal(side(images)[0], stream(images)[0])
    assert not torch.allclose(side(images)[1], stream(images)[1])


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


@pytest.mark.parametrize('arguments, word', [
    (dict(out_norm='inside'), 'out_norm'),
    *[(dict(arch=dict(TINY_CONFIGS['ResT']['arch'], reductions=[reduction, 2, 1, 1])), 'reductions must be')
      for reduction in (-2, 0, 3)],
    (dict(arch=dict(TINY_CONFIGS['ResT']['arch'], embed_dims=15)), 'embed_dims must be even, got 15'),
])
def test_bad_arguments_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        build(**arguments)
