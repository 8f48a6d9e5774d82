"""Refiner-ViT: behavior that the goldens don't cover, such as synchronized norms, tokens and resized positions."""
import copy
from functools import partial

import pytest
import torch
from helpers import fresh_model, raises, relative_error, trained_model
from tiny_configs import TINY_CONFIGS
from torch import nn

from mmvit_backbones.backbones.refiner_vit import RefinerPatchEmbed

build = partial(fresh_model, 'RefinerViT')


@torch.no_grad()
def test_synchronized_batch_norms_give_the_same_results_in_evaluation():
    model, images = trained_model('RefinerViT').eval(), torch.randn(1, 3, 64, 64)
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
