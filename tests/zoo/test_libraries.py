"""Pretrained weights of related networks load as other libraries save them, and give the outputs of these libraries.

The networks of timm and OpenMMLab were written neither by the authors nor by this package.
"""
import os
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from fine_tunings import recipe
from helpers import raises
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import get_mmcls_models, get_torchvision_models
from safetensors.torch import save_file
from torch import Tensor, nn

from mmvit.frameworks.building import build_model
from mmvit.recipes.networks import find_network
from mmvit_backbones import get_model
from mmvit_backbones.errors import CheckpointError, UsageError
from mmvit_backbones.zoo.checkpoints import read_checkpoint
from mmvit_backbones.zoo.hubs import images_of
from mmvit_backbones.zoo.loading import LIBRARY_LAYOUTS, find_weights, load_checkpoint, safe_loading
from mmvit_backbones.zoo.variants import VARIANTS

timm = pytest.importorskip('timm')
DEPTHS, HEADS, DIM, WINDOW = (2, 1, 2, 1), (1, 2, 2, 4), 16, 4
SWIN = dict(embed_dims=DIM, depths=DEPTHS, num_heads=HEADS, window_size=WINDOW, mlp_ratio=4)
VIT = dict(embed_dims=32, depth=2, num_heads=2, mlp_ratio=4)
MVIT = dict(embed_dims=16, depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8), mlp_ratio=4)


class Evil:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path), )


def perturbed(model: nn.Module) -> nn.Module:
    """Changes all parameters at random, so that all affect the output."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()  # returns None in mmdet
    return model.double()


def swin_of_timm(size: int) -> nn.Module:
    return timm.models.SwinTransformer(img_size=size, window_size=WINDOW, embed_dim=DIM, depths=DEPTHS, num_heads=HEADS,
                                       num_classes=5)


def swin_of_mmdet(size: int) -> nn.Module:
    pytest.importorskip('mmdet')
    from mmdet.models import SwinTransformer
    return SwinTransformer(embed_dims=DIM, depths=DEPTHS, num_heads=HEADS, window_size=WINDOW, drop_path_rate=0.)


def vit_of_timm(size: int) -> nn.Module:
    return timm.models.VisionTransformer(img_size=size, embed_dim=32, depth=2, num_heads=2, num_classes=5)


def vit_of_mmpretrain(size: int) -> nn.Module:
    pytest.importorskip('mmpretrain')
    from mmpretrain.models import VisionTransformer
    return VisionTransformer(dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128), img_size=size,
                             patch_size=16, out_type='featmap')


def mvit_of_timm(size: int) -> nn.Module:
    from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
    cfg = MultiScaleVitCfg(depths=MVIT['depths'], embed_dim=16, num_heads=1)
    return MultiScaleVit(cfg, img_size=(size, size), num_classes=5)


def last_map_of(model: nn.Module, images: Tensor) -> Tensor:
    """Returns the last map ``(B, C, H, W)`` of another library's network, after its norm, without class token."""
    name, library = type(model).__name__, type(model).__module__.partition('.')[0]
    if name == 'SwinTransformer':
        if library == 'mmdet':
            return model(images)[-1]
        return model.forward_features(images).permute(0, 3, 1, 2)
    if name == 'MultiScaleVit':
        return as_map(model.forward_features(images))
    if library == 'timm':
        x = model.patch_embed(images) + model.pos_embed[:, 1:]
        return as_map(model.norm(model.blocks(x)))
    x = model.patch_embed(images)[0] + model.pos_embed[:, 1:]
    for layer in model.layers:
        x = layer(x)
    return as_map(model.ln1(x))


def as_map(tokens: Tensor) -> Tensor:
    side = round(tokens.shape[1]**0.5)
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def ours(backbone: str, arch: dict, size: int, weights: dict, **options) -> nn.Module:
    if backbone in ('ReViT', 'ReMViTv2'):
        options['img_size'] = size
    model = MODELS.build(dict(type=backbone, arch=arch, **options))
    load_checkpoint(model, weights, 'theirs.pth')
    return model.double().eval()


@pytest.mark.parametrize('size', [128, 256])  # windows cover the maps of all stages
@pytest.mark.parametrize('build, backbone, arch', [
    (swin_of_timm, 'ReSwin', SWIN), (swin_of_mmdet, 'ReSwin', SWIN), (vit_of_timm, 'ReViT', VIT),
    (vit_of_mmpretrain, 'ReViT', VIT), (mvit_of_timm, 'ReMViTv2', MVIT)])
@torch.no_grad()
def test_without_residuals_networks_equal_those_of_libraries(build, backbone, arch, size):
    theirs = perturbed(build(size))
    model = ours(backbone, arch, size, theirs.state_dict(), residual_logits=False)
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(model(images)[-1], last_map_of(theirs, images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('size', [128, 256])
@torch.no_grad()
def test_swin_vsa_without_its_additions_equals_a_swin_without_shifts(size, logged):
    theirs = perturbed(swin_of_timm(size))
    for stage in theirs.layers:
        for block in stage.blocks:
            block.shift_size, block.attn_mask = (0, 0), None
    model = ours('SwinVSA', SWIN, size, theirs.state_dict())
    assert all(name in logged.text for name in ('stages.*.blocks.*.position', 'stages.*.blocks.*.attn.predictor'))
    for block in (block for stage in model.stages for block in stage.blocks):
        nn.init.zeros_(block.position.conv.weight)
        nn.init.zeros_(block.position.conv.bias)
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    torch.testing.assert_close(model(images)[-1], last_map_of(theirs, images), rtol=1e-9, atol=1e-9)


def wrapped(form: str, weights: dict) -> dict:
    """Returns weights as detectors, segmenters and training loops save them."""
    inside = {f'backbone.{key}': x for key, x in weights.items() if not key.startswith('head')}
    return dict(
        detector=dict(state_dict={**inside, **{f'neck.{i}.weight': torch.zeros(3) for i in range(9)}}, meta={}),
        few=dict(model={**{f'module.{key}': x for key, x in weights.items()}, 'mask_token': torch.zeros(3)}))[form]


@pytest.mark.parametrize('form', ['detector', 'few'])
@pytest.mark.parametrize('build, backbone, arch', [
    (swin_of_timm, 'SwinVSA', SWIN), (vit_of_timm, 'ReViT', VIT), (mvit_of_timm, 'ReMViTv2', MVIT)])
def test_weights_of_related_networks_load_from_any_file(build, backbone, arch, form, tmp_path, logged):
    theirs = build(64).state_dict()
    torch.save(wrapped(form, theirs), tmp_path / 'theirs.pth')
    options = {} if backbone == 'SwinVSA' else dict(img_size=64)
    model = MODELS.build(dict(type=backbone, arch=arch, **options, init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'theirs.pth'))))
    model.init_weights()
    assert torch.equal(model.state_dict()['patch_embed.proj.weight'], theirs['patch_embed.proj.weight'])
    assert '; new: ' in logged.text
    for word, is_named in (('cls_token', backbone == 'ReViT'), ('neck.*.weight', form == 'detector')):
        assert (word in logged.text) == is_named


def microsofts(weights: dict) -> dict:
    """Renames timm's Swin: Microsoft's and older versions of timm merge patches at the end of a stage."""
    numbers = {f'layers.{i + 1}.downsample': f'layers.{i}.downsample' for i in range(3)}
    return {numbers.get(key[:19], key[:19]).replace('head.fc', 'head') + key[19:]: x for key, x in weights.items()}


@pytest.mark.enumerates
@pytest.mark.parametrize('layout', LIBRARY_LAYOUTS, ids=lambda layout: layout.network)
def test_every_layout_of_a_library_is_told_by_its_keys(layout):
    """A file of the library fills each of the layout's networks, but for what only these have."""
    files = {'Swin of timm': (swin_of_timm, SWIN), 'Swin of OpenMMLab': (swin_of_mmdet, SWIN),
             'Swin of Microsoft': (swin_of_timm, SWIN), 'MViTv2 of timm': (mvit_of_timm, MVIT),
             'ViT of timm': (vit_of_timm, VIT), 'ViT of mmpretrain': (vit_of_mmpretrain, VIT)}
    assert layout.network in files, f'files must have a function that builds a {layout.network}, and its settings'
    build, arch = files[layout.network]
    weights = build(64).state_dict()
    if layout.network == 'Swin of Microsoft':
        weights = microsofts(weights)
    for backbone in layout.backbones:
        model = MODELS.build(dict(type=backbone, arch=arch))
        found = find_weights(model, weights, 'theirs.pth')
        missing = model.state_dict().keys() - found.keys()
        assert not [name for name in missing
                    if not any(re.fullmatch(pattern, name) for pattern in (*model.optional, r'norm\d\..*'))]


@pytest.mark.parametrize('build, backbone, arch', [
    (swin_of_timm, 'SwinVSA', {**SWIN, 'window_size': 7}), (vit_of_timm, 'ReViT', VIT),
    (mvit_of_timm, 'ReMViTv2', MVIT)])
def test_weights_of_related_networks_are_interpolated(build, backbone, arch, logged):
    """Window and image sizes may differ from those of the file."""
    model = ours(backbone, arch, 160, build(64).state_dict())
    assert 'resized' in logged.text or 'interpolat' in logged.text
    assert all(x.isfinite().all() for x in model(torch.zeros(1, 3, 64, 64, dtype=torch.float64)))


@pytest.mark.parametrize('options, words', [
    (dict(init_values=1e-5), ['ViT of timm', 'blocks.*.ls1.gamma']), (dict(pre_norm=True), ['ViT of timm', 'norm_pre']),
    (dict(img_size=(64, 128)), ['pos_embed', '33'])], ids=['layer scale', 'norm before the blocks', 'no square'])
def test_other_kinds_of_a_related_network_are_refused(options, words):
    """What changes the network's function, or has no place in it, is not left out."""
    other = timm.models.VisionTransformer(**{**dict(img_size=64, embed_dim=32, depth=2, num_heads=2), **options})
    with raises(CheckpointError, 'theirs.pth', *words):
        ours('ReViT', VIT, 64, other.state_dict())


def test_a_missing_classifier_can_be_new():
    """ReViT has no use for a classifier of the class token."""
    model, weights = get_model('revit_base', arch=VIT, num_classes=3), vit_of_timm(224).state_dict()
    with raises(CheckpointError, 'theirs.pth has no classifier', "task='backbone'", 'num_classes'):
        load_checkpoint(model, weights, 'theirs.pth')
    load_checkpoint(model, weights, 'theirs.pth', new_head=True)
    assert torch.equal(model.state_dict()['backbone.blocks.1.mlp.fc1.bias'], weights['blocks.1.mlp.fc1.bias'])


def test_positions_of_all_tokens_are_dropped():
    other = timm.models.VisionTransformer(img_size=64, embed_dim=32, depth=2, num_heads=2, reg_tokens=4,
                                          no_embed_class=False)
    found = ours('ReViT', VIT, 64, other.state_dict()).patch_embed.positions.pos_embed
    assert torch.equal(found, other.pos_embed[:, -16:].double())


# ---- by name


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Returns the folder of torch hub's cache, which is empty."""
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    folder = tmp_path / 'torch/hub/checkpoints'
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize('name, file, keys', [
    ('open-mmlab://own', 'own-1234.pth', ['backbone.a', 'head.b']),
    ('openmmlab://own', 'own-1234.pth', ['backbone.a', 'head.b']),
    ('mmcls://resnet50_v1d', None, ['a']), ('modelzoo://resnet50', None, ['backbone.a', 'head.b'])])
@pytest.mark.parametrize('is_safe', [True, False])
def test_names_of_openmmlab_run_no_code(name, file, keys, is_safe, hub, tmp_path, monkeypatch, own_loaders):
    """By the command, and by MMEngine in a run, for the backbones of others."""
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    (tmp_path / 'open_mmlab.json').write_text('{"own": "https://example.org/own-1234.pth"}')
    tables = dict(mmcls=get_mmcls_models, modelzoo=get_torchvision_models)
    scheme, _, model = name.partition('://')
    file = file or Path(tables[scheme]()[model]).name
    weights = {'backbone.a': torch.ones(1), 'head.b': torch.ones(1)}
    torch.save(dict(state_dict=weights, evil=None if is_safe else Evil(tmp_path / 'ran')), hub / file)
    for read in read_checkpoint, CheckpointLoader.load_checkpoint:
        with safe_loading(), nullcontext() if is_safe else raises(CheckpointError, file, 'mkdir'):
            assert list(read(name)['state_dict']) == keys
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('name', [
    's3://a/b.pth', 'petrel://a.pth', 'b:s3://c.pth', 'pavi://a', 'mmcls://none', 'other://a.pth', 'open-mmlab://none',
    'modelzoo://none'])
def test_names_that_mmengine_would_unpickle_are_refused(name, tmp_path, monkeypatch, own_loaders):
    """Also where a folder makes the name a path."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        for read in read_checkpoint, CheckpointLoader.load_checkpoint:
            with safe_loading(), pytest.raises((CheckpointError, FileNotFoundError)):
                read(name)
        if os.name != 'nt':
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            torch.save(dict(state_dict={}, evil=Evil(tmp_path / 'ran')), name)
    assert not (tmp_path / 'ran').exists()


def test_a_recipe_starts_from_the_cache_of_timm(tmp_path, monkeypatch):
    """The weights and the statistics of their images are those of the name."""
    constants = pytest.importorskip('huggingface_hub').constants
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    name = 'vit_tiny_patch16_224.augreg_in21k_ft_in1k'
    theirs, revision = timm.create_model(name).state_dict(), '0' * 40
    folder = tmp_path / f'models--timm--{name}'
    for path in (folder / 'snapshots' / revision, folder / 'refs'):
        path.mkdir(parents=True)
    (folder / 'refs/main').write_text(revision)
    save_file(theirs, folder / 'snapshots' / revision / 'model.safetensors')
    arch = dict(embed_dims=192, depth=12, num_heads=3, mlp_ratio=4)
    cfg = recipe(tmp_path, network=dict(type='ReViT', arch=arch, out_indices=(0, )), pretrained=f'timm://{name}')
    init_default_scope(cfg.default_scope)
    model = build_model(cfg)
    model.init_weights()
    assert torch.equal(model.backbone.state_dict()['blocks.7.attn.qkv.weight'], theirs['blocks.7.attn.qkv.weight'])
    preprocessor = model.data_preprocessor
    assert preprocessor.mean.flatten().tolist() == preprocessor.std.flatten().tolist() == [127.5] * 3


@pytest.mark.parametrize('name, words', [
    ('timm://swin_tiny', ['swin_tiny_patch4']), ('timm://no_network', ['list_pretrained']),
    ('timm://vit_base_patch16_224.none', ['vit_base_patch16_224.mae'])])
def test_unknown_names_are_refused(name, words):
    with raises(UsageError, name, *words):
        images_of(name)


@pytest.mark.enumerates
@pytest.mark.parametrize('variant', [variant for variant in VARIANTS.values() if variant.related_weights],
                         ids=lambda variant: variant.name)
def test_weights_of_related_networks_are_known_to_their_library(variant):
    assert images_of(variant.related_weights), (
        f'variants.yml: related_weights of {variant.name} must begin with timm://')


def test_weights_that_cannot_be_had_name_those_of_a_related_network(tmp_path, monkeypatch):
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    with raises(CheckpointError, 'related network: timm://swin_tiny_patch4_window7_224.ms_in22k_ft_in1k'):
        get_model('swin_vsa_tiny', 'backbone', pretrained=True)
    with raises(CheckpointError, 'Open https://pan.baidu.com/s/1LHAbsrXnGsjvAE3d5zhaHQ in a browser',
                'access code rest', f'save the file as {tmp_path}/restv2_tiny.pth'):
        get_model('restv2_tiny', 'backbone', pretrained=True)


def test_recipes_use_the_statistics_of_pretrained_weights():
    network = find_network('revit_base', 'timm://vit_base_patch16_224.augreg2_in21k_ft_in1k')
    assert network.images.mean == network.images.std == [127.5] * 3
    assert find_network('revit_base', False).images.mean != [127.5] * 3
    assert find_network('timm:vit_tiny_patch16_224.augreg_in21k', True).images.mean == [127.5] * 3
    assert find_network('timm:vit_tiny_patch16_224.augreg_in21k', False).images.mean != [127.5] * 3
