"""Token labels are the strongest classes of each position."""
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT, raises
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from subcommands import call
from torch import nn

pytest.importorskip('timm')

import timm

from mmvit.inference import token_labels
from mmvit_backbones import get_model
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.building import import_mmpretrain


@pytest.fixture(autouse=True)
def in_mmpretrain():
    import_mmpretrain()
    init_default_scope('mmpretrain')


def test_strongest_classes():
    scores = torch.tensor([.3, -.1, .5, .2, .0, .4, .1]).view(1, 7, 1, 1) + torch.tensor([[0., 1.], [2., 3.]])
    labels, = token_labels.strongest(scores.half())
    assert labels.shape == (2, 5, 2, 2) and labels.dtype == torch.float32
    assert labels[1, :, 1, 0].tolist() == [2, 5, 0, 3, 6]
    torch.testing.assert_close(labels[0, :, 0, 1], torch.tensor([1.5, 1.4, 1.3, 1.2, 1.1]), atol=1e-3, rtol=0)
    assert next(token_labels.strongest(scores[:, :3])).shape == (2, 3, 2, 2)


def test_files_of_labels(tmp_path):
    """Images in deeper or upper folders have no labels."""
    for name in 'a/x.jpg', 'b/x.PNG', 'b/y.jpg', 'b/notes.txt', 'top.jpg', 'c/deep/z.jpg':
        (tmp_path / 'in' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'in' / name).touch()
    found = token_labels.plan(tmp_path / 'in', Path('out'))
    assert {str(path.relative_to(tmp_path / 'in')): str(file) for path, file in found.items()} == {
        'a/x.jpg': 'out/a/x.pt', 'b/x.PNG': 'out/b/x.pt', 'b/y.jpg': 'out/b/y.pt'}
    (tmp_path / 'in/b/x.jpg').touch()
    with raises(UsageError, 'in', 'suffix'):
        token_labels.plan(tmp_path / 'in', Path('out'))
    with raises(UsageError, 'CLASS/NAME', '.jpg'):
        token_labels.plan(tmp_path / 'in/a', Path('out'))


class ByQuarter(nn.Module):
    """Scores of six classes, which depend on the red channel of each quarter."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        red = nn.functional.avg_pool2d(images[:, :1].float(), images.shape[-1] // 2)
        return torch.cat([red * number for number in (1, 6, 2, 3, 5, 4)], 1)


def test_only_missing_files_are_written(tmp_path):
    (tmp_path / 'in/a').mkdir(parents=True)
    for number in range(5):
        Image.new('RGB', (9, 7), (10 * number, 0, 0)).save(tmp_path / f'in/a/{number}.png')
    targets = token_labels.plan(tmp_path / 'in', tmp_path / 'out')

    def write() -> list[str]:
        return list(token_labels.write_missing(targets, ByQuarter(), (8, 8), 2, torch.device('cpu')))

    assert write() == [
        '5 images, 0 already have token labels', '2 of 5 token labels written', '4 of 5 token labels written',
        '5 of 5 token labels written']
    for number in range(5):
        labels = torch.load(tmp_path / f'out/a/{number}.pt')
        assert labels[0, :, 1, 0].tolist() == [10 * number * factor for factor in (6, 5, 4, 3, 2)]
        assert number == 0 or labels[1, :, 1, 0].tolist() == [1, 4, 5, 3, 2]
        assert (tmp_path / f'out/a/{number}.pt').stat().st_size < 3000
    (tmp_path / 'out/a/1.pt').unlink()
    (tmp_path / 'out/a/3.pt').unlink()
    assert write() == ['5 images, 3 already have token labels', '2 of 2 token labels written']
    assert write() == ['5 images, 5 already have token labels']
    assert len(list((tmp_path / 'out/a').iterdir())) == 5


@pytest.mark.parametrize('backbone, neck', [
    (dict(type='ResNet', depth=18, num_stages=4, out_indices=(3, ), style='pytorch'),
     dict(type='GlobalAveragePooling')),
    (dict(type='RefinerViT', arch=dict(embed_dims=512, depth=8, num_heads=4, mlp_ratio=1), out_indices=3),
     dict(type='LayerNormPooling', order='norm_first', in_channels=512)),
], ids=['convolutions', 'tokens'])
@torch.no_grad()
def test_scores_of_positions_are_those_of_the_head(backbone, neck):
    """If the linear layer follows the average pooling, the mean of the dense scores equals the model's scores."""
    model = MODELS.build(dict(type='ImageClassifier', backbone=backbone, neck=neck, head=dict(
        type='LinearClsHead', num_classes=7, in_channels=512))).eval()
    images = torch.randn(2, 3, 64, 96)
    scores = token_labels.dense_scores(model, images)
    assert scores.shape[:2] == (2, 7) and scores.shape[2] < scores.shape[3]
    torch.testing.assert_close(scores.mean((2, 3)), model(images), rtol=1e-4, atol=1e-4)
    with torch.enable_grad():
        assert not token_labels.annotate(model, images).requires_grad


@pytest.mark.slow
@pytest.mark.parametrize('name, to_map', [
    ('resnet18', lambda features: features.permute(0, 2, 3, 1)),
    ('swin_tiny_patch4_window7_224', lambda features: features),
    ('vit_tiny_patch16_224', lambda features: features[:, 1:].unflatten(1, (14, 14))),
], ids=['channels first', 'channels last', 'tokens'])
@torch.no_grad()
def test_scores_of_timms_networks(name, to_map, tmp_path):
    """The scores are the classifier's linear layer applied to the features at every position."""
    model = timm.create_model(name).eval()
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8)
    scores = token_labels.build(f'timm:{name}', str(tmp_path / 'weights.pth'), 'cpu')(images)
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(3, 1, 1) for key in ('mean', 'std'))
    expected = model.get_classifier()(to_map(model.forward_features((images / 255 - mean) / std)))
    torch.testing.assert_close(scores, expected.permute(0, 3, 1, 2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name, words', [
    *[(name, [f'{name} requires --checkpoint']) for name in (
        'configs/imagenet_rest_lite.py', 'imagenet_rest_lite', 'timm:nfnet_f0')],
    ('timm:none', ['timm has no model none']), ('unknown', ['timm:NAME', 'config', 'unknown'])])
def test_models_that_cannot_be_used(name, words):
    with raises(UsageError, *words):
        token_labels.build(name, None, torch.device('cpu'))


def test_models_of_timm_require_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with raises(UsageError, 'timm:resnet18', 'pip install timm'):
        token_labels.build('timm:resnet18', None, torch.device('cpu'))


@torch.no_grad()
def test_scores_of_convnext():
    """The norm is applied at every position instead of after the pooling, so a constant map has the model's scores."""
    model = MODELS.build(dict(type='ImageClassifier', backbone=dict(
        type='ConvNeXt', arch=dict(depths=[1, 1], channels=[8, 16]), out_indices=(1, )),
        head=dict(type='LinearClsHead', num_classes=7, in_channels=16))).eval()
    images = torch.zeros(1, 3, 64, 96)
    model.backbone.stages[1].register_forward_hook(lambda module, inputs, output: output[..., :1, :1].expand_as(output))
    expected = model(images)
    token_labels.use_feature_maps(model.backbone)
    scores = token_labels.dense_scores(model, images)
    assert scores.shape == (1, 7, 8, 12)
    torch.testing.assert_close(scores.mean((2, 3)), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_networks_without_feature_maps_are_refused():
    model = MODELS.build(dict(type='ImageClassifier', backbone=dict(
        type='VisionTransformer', arch='deit-tiny', img_size=32, out_type='raw'), head=dict(
            type='LinearClsHead', num_classes=7, in_channels=192)))
    with raises(UsageError, 'VisionTransformer', '(B, C, H, W)', '(1, 5, 192)'):
        token_labels.dense_scores(model, torch.zeros(1, 3, 32, 32))


@pytest.mark.slow
def test_labels_of_a_network(tmp_path, capsys):
    model = get_model('rest_lite', num_classes=6)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    (tmp_path / 'in/a').mkdir(parents=True)
    Image.new('RGB', (9, 7)).save(tmp_path / 'in/a/1.png')
    config = tmp_path / 'config.py'
    base = str(ROOT / 'configs/imagenet_rest_lite.py')
    config.write_text(f'_base_ = {base!r}\nmodel = dict(head=dict(num_classes=6))')
    call('data token-labels', tmp_path / 'in', tmp_path / 'out', config, '--checkpoint', tmp_path / 'model.pth',
         '--size', 64, 96)
    assert '1 of 1 token labels written' in capsys.readouterr().out
    assert torch.load(tmp_path / 'out/a/1.pt').shape == (2, 5, 2, 3)
