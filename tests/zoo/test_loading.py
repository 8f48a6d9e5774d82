"""Checkpoints are loaded strictly, without executing code, and with a different head or input channels."""
from pathlib import Path

import pytest
import torch
from helpers import each_network, fresh_model, raises, trained_model

from mmvit_backbones import get_model
from mmvit_backbones.errors import CheckpointError
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.loading import adapt_channels, find_weights, load_checkpoint


def pretrained(path, **arguments) -> torch.nn.Module:
    """Builds a backbone with pretrained weights as a user's program does."""
    backbone = fresh_model('ReSwin', init_cfg=dict(type='Pretrained', checkpoint=str(path), **arguments))
    backbone.init_weights()
    return backbone


@pytest.mark.parametrize('name', ['{folder}/authors.pth', 'authors.pth', '../authors.pth', 'http://127.0.0.1:1/a.pth',
                                  'official://vitae_tiny', 'vitae_tin', ''])
def test_official_names_are_those_of_the_table(name, tmp_path, monkeypatch):
    """No file or URL is read for an unknown name, even if a file with this name exists."""
    monkeypatch.chdir(tmp_path)
    torch.save(trained_model('ReSwin').state_dict(), tmp_path / 'authors.pth')
    with raises(CheckpointError, 'official://', 'unknown network'):
        read_checkpoint(f'official://{name.format(folder=tmp_path)}')


def test_a_run_stands_for_its_best_checkpoint(tmp_path):
    """The name of the best checkpoint ends with an epoch that no config can know."""
    torch.save(dict(state_dict=trained_model('ReSwin').state_dict()), tmp_path / 'best_accuracy_top1_epoch_270.pth')
    weight = pretrained(tmp_path).state_dict()['patch_embed.proj.weight']
    assert torch.equal(weight, trained_model('ReSwin').state_dict()['patch_embed.proj.weight'])


@pytest.mark.parametrize('change, words', [
    (lambda weights: {'layer1.0.weight': torch.zeros(3)}, ['ReSwin', 'layer1.0.weight']),
    (lambda weights: weights | {f'{i}.weight': torch.zeros(3) for i in range(9)}, ['9 keys are unknown', '0.weight']),
    (lambda weights: {key: x for key, x in weights.items() if 'patch_embed.proj' not in key},
     ['random', 'patch_embed.proj']),
    (lambda weights: weights | {'patch_embed.norm.bias': torch.zeros(3)}, ['patch_embed.norm.bias']),
    (lambda weights: weights | {'patch_embed.proj.weight': 3}, ['patch_embed.proj.weight must be a tensor', 'int']),
    (lambda weights: {'patch_embed.proj.weight': 3}, ['patch_embed.proj.weight'])])
def test_pretrained_takes_nothing_else(tmp_path, change, words):
    torch.save(change(fresh_model('ReSwin').state_dict()), tmp_path / 'other.pth')
    with raises(CheckpointError, 'other.pth', *words):
        pretrained(tmp_path / 'other.pth')


def test_a_new_head_keeps_the_backbone(tmp_path):
    pytest.importorskip('mmpretrain')
    path = str(tmp_path / 'thousand.pth')
    weights = get_model('vitae_tiny').state_dict()
    torch.save(weights, path)
    model = get_model('vitae_tiny', checkpoint=path, num_classes=5)
    own = model.state_dict()
    assert own['head.fc.weight'].shape == (5, 256)
    assert all(torch.equal(own[key], x) for key, x in weights.items() if key.startswith('backbone.'))
    torch.save(own, path)
    again = get_model('vitae_tiny', checkpoint=Path(path), num_classes=5).state_dict()  # a matching head is loaded
    assert torch.equal(again['head.fc.weight'], own['head.fc.weight'])
    with raises(CheckpointError, 'thousand.pth', '5 classes', 'has 1000', 'num_classes=1000'):
        get_model('vitae_tiny', checkpoint=path)
    backbone = {key: x for key, x in own.items() if key.startswith('backbone.')}
    for name, layer in (('five', 'head.fc.weight'), ('headless', None), (
            'detector', 'roi_head.bbox_head.fc_cls.weight')):
        torch.save(backbone | ({layer: torch.zeros(5, 256)} if layer else {}), tmp_path / f'{name}.pth')
        load_checkpoint(model.backbone, read_checkpoint(str(tmp_path / f'{name}.pth')), name)
    for file in tmp_path / 'headless.pth', tmp_path / 'detector.pth':
        headless = get_model('vitae_tiny', checkpoint=str(file), num_classes=5).state_dict()
        assert all(torch.equal(headless[key], x) for key, x in backbone.items())
        with raises(CheckpointError, f'{file.name} has no classifier', "task='backbone'", 'num_classes'):
            get_model('vitae_tiny', checkpoint=str(file))


@pytest.mark.parametrize('name, shape', [
    ('head.fc.weight', (1000, 384)), ('head.fc.weight', (1000, 128)), ('head.fc.bias', ())])
def test_a_head_with_another_shape_is_for_another_network(tmp_path, name, shape):
    pytest.importorskip('mmpretrain')
    torch.save(get_model('vitae_tiny').state_dict() | {name: torch.zeros(shape)}, tmp_path / 'small.pth')
    for options in ({}, dict(num_classes=5)):
        with raises(CheckpointError, 'small.pth', 'another network'):
            get_model('vitae_tiny', checkpoint=str(tmp_path / 'small.pth'), **options)


@each_network
@torch.no_grad()
def test_rgb_weights_are_adapted_to_other_channels(network, logged):
    """Gray images give the same outputs with one and three channels, and so do RGB images with three and six."""
    rgb = trained_model(network).eval()
    x = torch.randn(1, 1, 64, 64)
    for channels, of_rgb, of_other in [(1, x.expand(-1, 3, -1, -1), x), (6, (y := torch.randn(1, 3, 64, 64)),
                                                                        y.repeat(1, 2, 1, 1))]:
        other = fresh_model(network, in_channels=channels).eval()
        other.load_state_dict(find_weights(other, rgb.state_dict(), 'rgb'), strict=True)
        assert 'rgb: converted' in logged.text and f'from 3 to {channels} input channels' in logged.text
        for ours, theirs in zip(other(of_other), rgb(of_rgb)):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('channels, expected', [
    (1, [6.]), (2, [1.5, 3.]), (4, [0.75, 1.5, 2.25, 0.75]), (7, [3 / 7, 6 / 7, 9 / 7] * 2 + [3 / 7])])
def test_channels_are_converted_as_in_timm(channels, expected):
    weight = torch.tensor([1., 2., 3.]).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    expected = torch.tensor(expected).view(1, channels, 1, 1).expand(2, channels, 2, 2)
    torch.testing.assert_close(adapt_channels(weight, channels), expected)


@pytest.mark.parametrize('num_classes', [1, 3])
def test_a_model_for_other_images(num_classes):
    pytest.importorskip('mmpretrain')
    model = get_model('vitae_tiny', num_classes=num_classes, in_channels=1, img_size=64).eval()
    images = model.data_preprocessor(dict(inputs=torch.full((2, 1, 64, 64), 128.)))['inputs']
    assert model(images).shape == (2, num_classes)
    assert 0.015 < model.head.fc.weight.std() < 0.025  # the head is initialized as by the authors
