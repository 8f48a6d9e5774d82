"""Refiner-ViT: behavior that the goldens don't cover, such as training, batch statistics and resized positions."""
import copy

import pytest
import torch
import torch.nn.functional as F
from helpers import raises, relative_error
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS
from torch import nn

from mmvit_backbones.backbones.refiner_vit import RefinerPatchEmbed, SharedAttention


def build(**arguments) -> nn.Module:
    """Builds a tiny network with random statistics and weights in its batch norms."""
    torch.manual_seed(0)
    model = MODELS.build(dict(type='RefinerViT', **{**TINY_CONFIGS['RefinerViT'], **arguments}))
    model.apply(randomize)
    return model


def randomize(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm2d):
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.normal_(module.bias)
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 1.5)


def shared_attention(num_heads: int = 2) -> SharedAttention:
    torch.manual_seed(0)
    attention = SharedAttention(8 * num_heads, num_heads).double()
    attention.apply(randomize)
    return attention


def published_formula(attention: SharedAttention, x: torch.Tensor, prev_attn: torch.Tensor) -> torch.Tensor:
    """Computes shared attention with the scale applied to the maps instead of the values."""
    refiner = attention.refiner
    inner = F.relu6(refiner.norm1(refiner.expand(prev_attn)))
    inner = F.relu6(refiner.norm2(refiner.depthwise(inner)))
    maps = attention.norm(refiner.norm3(refiner.project(inner)) + prev_attn) * attention.scale
    value = attention.value(x).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    return attention.proj((maps @ value).transpose(1, 2).flatten(2))


def inputs(batch: int = 3, tokens: int = 21) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, tokens, 16).double(), torch.randn(batch, 2, tokens, tokens).double()


@pytest.mark.parametrize('training', [False, True])
def test_shared_attention_matches_the_published_formula(training):
    """Compares results, gradients and running statistics."""
    attention, expected = shared_attention().train(training), shared_attention().train(training)
    for change in (lambda norm: None, randomize):
        torch.manual_seed(1)
        attention.apply(change)
        torch.manual_seed(1)
        expected.apply(change)
        x, prev_attn = (t.requires_grad_() for t in inputs())
        (ours, _), theirs = attention(x, prev_attn), published_formula(expected, x, prev_attn)
        torch.testing.assert_close(ours, theirs)
        target = torch.randn_like(ours)
        gradients = (torch.autograd.grad((out * target).sum(), [x, prev_attn, *module.parameters()])
                     for out, module in ((ours, attention), (theirs, expected)))
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b, atol=1e-8, rtol=1e-6)
        for a, b in zip(attention.buffers(), expected.buffers()):
            torch.testing.assert_close(a, b)


@torch.no_grad()
def test_synchronized_batch_norms_give_the_same_results_in_evaluation():
    model, images = build().eval(), torch.randn(1, 3, 64, 64)
    expected = model(images)
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    kinds = {type(module) for module in converted.modules()}
    assert nn.SyncBatchNorm in kinds and nn.BatchNorm2d not in kinds
    for a, b in zip(converted(images), expected):
        torch.testing.assert_close(a, b)


def test_tokens_in_training_and_evaluation():
    model = build(out_indices=3, out_type='tokens', mix_tokens=True)
    images = torch.randn(2, 3, 64, 48)
    features, = model.train()(images)
    assert features.tokens.shape == (2, 13, 16) and features.grid == (4, 3) and len(features.maps) == 8
    assert all(maps.shape == (2, 2, 13, 13) for maps in features.maps)
    assert any(model(images)[0].bbox != (0, 0, 0, 0) for _ in range(5))
    with torch.no_grad():
        assert model(images)[0].maps == ()
    features, = model.eval()(images)
    assert features.bbox == (0, 0, 0, 0) and features.maps == ()
    model = build(out_indices=3, out_type='tokens').train()
    assert all(model(images)[0].bbox == (0, 0, 0, 0) for _ in range(5))


@pytest.mark.parametrize('arguments, word', [
    (dict(out_type='cls'), 'out_type'),
    (dict(out_type='tokens'), 'out_indices=3'),
    (dict(mix_tokens=True), 'mix_tokens'),
    (dict(img_size=0), 'img_size'),
    *[(dict(arch=dict(TINY_CONFIGS['RefinerViT']['arch'], depth=depth)), f'depth must be a multiple of 8, got {depth}')
      for depth in (4, 12)],
])
def test_bad_arguments_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        build(**arguments)


def test_positions_of_another_size_are_resized_on_load():
    large, small = build(img_size=448), build(img_size=64)
    table, resized = (model.embed.positions.pos_embed.detach() for model in (large, small))
    table[:, 1:] = 7
    small.load_state_dict(large.state_dict())
    assert table.shape[1] == 785 and torch.equal(table[:, 0], resized[:, 0])
    torch.testing.assert_close(resized[:, 1:], torch.full((1, 16, 16), 7.))
    for not_square in (table[:, :-1], torch.cat([table, table[:, :1]], dim=1)):
        with raises(ValueError, 'pos_embed', '1 + n * n', not_square.shape[1]):
            small.load_state_dict(dict(large.state_dict(), **{'embed.positions.pos_embed': not_square}))


@torch.no_grad()
def test_batch_norms_of_the_patch_embedding_are_accurate_in_training_on_cpus():
    """On channels-last maps, PyTorch's batch norm would have a relative error of 3e-6."""
    embed, images = RefinerPatchEmbed(3, 64).train(), torch.randn(2, 3, 224, 224)
    expected = copy.deepcopy(embed).double()(images.double())
    assert relative_error(embed(images), expected) < 1.5e-6
