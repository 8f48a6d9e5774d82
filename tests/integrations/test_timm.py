"""Tests as in timm's tests/test_models.py, on a tiny network of every family."""
from functools import cache

import numpy as np
import pytest
import torch
from helpers import ROOT, raises
from mmcv.transforms import Compose
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from tiny_configs import NAMES, TINY_CONFIGS

timm = pytest.importorskip('timm')

from mmvit.configs.backbone import setting_of  # noqa: E402
from mmvit.configs.files import read_config  # noqa: E402
from mmvit_backbones import get_model, list_models  # noqa: E402
from mmvit_backbones.integrations.timm import config_of  # noqa: E402
from mmvit_backbones.zoo.settings import setting  # noqa: E402
from mmvit_backbones.zoo.variants import VARIANTS, task_of  # noqa: E402

each = pytest.mark.parametrize('network', sorted(NAMES))


def create(network: str, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    config = {key: value for key, value in TINY_CONFIGS[network].items() if key not in ('type', 'stage_norm')}
    return timm.create_model(f'mm_{NAMES[network]}', **{**config, 'num_classes': 7, **arguments})


@cache
def shared(network: str) -> torch.nn.Module:
    return create(network).eval()


def images(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 64, 64)


@each
@torch.no_grad()
def test_classifier_can_be_reset(network):
    model = create(network).eval()
    x = images()
    features = model.forward_features(x)
    assert torch.equal(model.forward_head(features), model(x))
    assert {parameter.shape[0] for parameter in model.get_classifier().parameters()} == {model.num_classes} == {7}
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)
    model.reset_classifier(0)
    assert model(x).shape == (2, model.num_features) and isinstance(model.get_classifier(), torch.nn.Identity)
    model.reset_classifier(0, '')
    torch.testing.assert_close(model(x), features)
    bare = create(network, num_classes=0, global_pool='').eval()
    assert bare(x).shape == features.shape


@each
@torch.no_grad()
def test_default_cfg_names_existing_layers(network):
    model = shared(network)
    cfg, state_dict = model.default_cfg, model.state_dict()
    assert cfg is model.pretrained_cfg and cfg['num_classes'] == 7
    classifiers = [cfg['classifier']] if isinstance(cfg['classifier'], str) else cfg['classifier']
    assert {f'{name}.weight' for name in (*classifiers, cfg['first_conv'])} <= state_dict.keys()
    assert len(classifiers) == sum(name.startswith('head.') and name.endswith('.weight') for name in state_dict)
    if cfg['pool_size']:  # None for tokens, as in timm's vision transformers
        assert model.forward_features(torch.zeros(1, *cfg['input_size'])).shape[2:] == cfg['pool_size']


def ours_and_timms(kind: str, **options) -> list[torch.nn.Module]:
    """Returns one of our networks, and one of timm's with the same channels and blocks."""
    options = dict(img_size=64) | options
    if kind == 'pyramid':
        arch = dict(embed_dims=12, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window_size=7, mlp_ratio=4)
        return [timm.create_model('mm_reswin_tiny', arch=arch, **options),
                timm.create_model('swin_tiny_patch4_window7_224', embed_dim=12, depths=(2, 2, 2, 2),
                                  num_heads=(1, 2, 4, 8), **options)]
    arch = dict(embed_dims=48, depth=5, num_heads=3, mlp_ratio=4)
    return [timm.create_model('mm_revit_base', arch=arch, **options),
            timm.create_model('vit_tiny_patch16_224', embed_dim=48, depth=5, **options)]


@pytest.mark.parametrize('options', [
    {}, dict(out_indices=3), dict(out_indices=(0, 1)), dict(out_indices=(-2, -1)), dict(out_indices=[1]),
    dict(img_size=(64, 96)), dict(strict_img_size=False), dict(dynamic_img_size=True), dict(in_chans=1),
    dict(drop_path_rate=0.1)], ids=str)
@pytest.mark.parametrize('kind', ['pyramid', 'plain'])
def test_features_have_timms_shapes_and_gradients(kind, options):
    if (kind, *options) in (('plain', 'strict_img_size'), ('pyramid', 'dynamic_img_size')):
        return  # timm's networks don't have it
    x, answers, sizes = torch.randn(1, options.get('in_chans', 3), *options.get('img_size', (64, 64))), [], []
    for model in ours_and_timms(kind, features_only=True, **options):
        info, shapes, loss = model.feature_info, [], 0
        for x_out, channels in zip(model(x), info.channels()):
            x_out = x_out if x_out.shape[1] == channels else x_out.permute(0, 3, 1, 2)  # timm's Swin returns NHWC
            shapes.append(x_out.shape)
            loss = loss + x_out.square().mean()
        loss.backward()
        answers.append((info.channels(), info.reduction(), [each['index'] for each in info.get_dicts()], shapes,
                        [name for name, p in model.named_parameters() if p.grad is None]))
        sizes.append(sum(p.numel() for p in model.parameters()))
    assert answers[0] == answers[1] and not answers[0][-1]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


@pytest.mark.parametrize('options', [
    {}, dict(indices=2), dict(indices=[0, -1]), dict(indices=(1, ), stop_early=True), dict(norm=True),
    dict(output_fmt='NLC'), dict(indices=1, intermediates_only=True)], ids=str)
@pytest.mark.parametrize('kind', ['pyramid', 'plain'])
@torch.no_grad()
def test_intermediates_have_timms_shapes(kind, options):
    x, answers = torch.randn(1, 3, 64, 64), []
    for model in ours_and_timms(kind, num_classes=0):
        try:
            maps = model.forward_intermediates(x, **options)
        except (ValueError, AssertionError):
            maps = []
        maps = maps if isinstance(maps, list) else maps[1]
        infos = len(model.feature_info)
        kept = model.prune_intermediate_layers(options.get('indices', 1), prune_norm=True)
        pruned = model.forward_intermediates(x, kept, intermediates_only=True)
        answers.append(([m.shape for m in maps], infos, kept, [m.shape for m in pruned]))
    assert answers[0] == answers[1]


@each
@torch.no_grad()
def test_modules_of_maps_return_them(network):
    model, outputs = create(network).eval(), {}
    for info in model.feature_info:
        model.get_submodule(info['module']).register_forward_hook(
            lambda module, inputs, out, index=info['index']: outputs.update({index: out}))
    maps = model.forward_intermediates(images(), output_fmt='NHWC', intermediates_only=True)
    for i, x in enumerate(maps):
        out = outputs[i][0] if isinstance(outputs[i], tuple) else outputs[i]
        out = out if out.ndim == 4 else out[:, -x[0, :, :, 0].numel():].unflatten(1, x.shape[1:3])  # tokens
        assert torch.equal(out, x)


@each
@torch.no_grad()
def test_a_head_of_ones_own_gets_the_pooled_features(network):
    model, x = create(network).eval(), images()
    features = model.forward_head(model.forward_features(x), pre_logits=True)
    model.head = torch.nn.Linear(model.head.in_features, 5)
    assert torch.equal(model(x), model.head(features)) and model.get_classifier() is model.head
    model.head = torch.nn.Identity()
    assert torch.equal(model(x), features)
    model.reset_classifier(4)
    assert model(x).shape == (2, 4)


@each
@torch.no_grad()
def test_replaced_convolutions_read_other_images(network):
    model, x = create(network).eval(), torch.randn(1, 5, 64, 64)
    *others, last = model.backbone.image_convs
    for name in (*others, last):
        if name == last and others:
            with raises(ValueError, 'in_chans', last):
                model(x)
        old = model.backbone.get_submodule(name)
        parent, _, own = name.rpartition('.')
        setattr(model.backbone.get_submodule(parent), own, torch.nn.Conv2d(
            5, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation, bias=old.bias is not None))
    assert model(x).shape == (1, 7)


@each
@pytest.mark.parametrize('num_classes', [7, 0])
@torch.no_grad()
def test_folders_of_timm_can_be_loaded(network, num_classes, tmp_path):
    model, x = create(network, num_classes=num_classes).eval(), images()
    timm.models.save_for_hf(model, tmp_path)
    loaded = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert torch.equal(loaded(x), model(x))
    assert timm.create_model(f'local-dir:{tmp_path}', pretrained=True, num_classes=3)(x).shape == (2, 3)


@each
@torch.no_grad()
def test_truncated_networks_return_the_same_maps(network):
    x = images()
    whole = shared(network).forward_intermediates(x, intermediates_only=True)
    for last in range(len(whole)):
        model = create(network).eval()
        model.load_state_dict(shared(network).state_dict())
        assert model.prune_intermediate_layers([last], prune_norm=True) == [last]
        final, maps = model.forward_intermediates(x, 1)
        assert torch.equal(maps[0], whole[last]) and torch.equal(model.forward_features(x), final)
        assert len(model(x)) == 2


@each
def test_parameters_are_grouped(network):
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay
    model = shared(network)
    assert all(name in dict(model.named_parameters()) for name in model.no_weight_decay())
    for coarse in (False, True):
        groups = timm.models.group_parameters(model, model.group_matcher(coarse))
        assert sum(map(len, groups.values())) == len(list(model.parameters())) and len(groups) > 2
        assert 'head.fc.weight' in groups[max(groups)]
    decayed = param_groups_layer_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay(), layer_decay=0.5)
    assert min(group['lr_scale'] for group in decayed) < 0.5
    groups = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    skipped = [p for group in groups if group['weight_decay'] == 0. for p in group['params']]
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in skipped} >= set(model.no_weight_decay())


@each
@torch.no_grad()
def test_state_dict_round_trip(network, tmp_path):
    model = shared(network)
    path = tmp_path / 'model.pth'
    torch.save(model.state_dict(), path)
    x = images()
    options = dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(path)))
    assert torch.equal(create(network, **options).eval()(x), model(x))
    assert torch.equal(create(network, checkpoint_path=str(path)).eval()(x), model(x))  # by timm's own loader
    # With another number of classes and of input channels.
    other = create(network, num_classes=4, in_chans=1, **options)
    assert other.eval()(x[:, :1]).shape == (2, 4)


CLASSIFIERS = [(variant, tag) for variant in VARIANTS.values()
               for tag in dict.fromkeys([str(variant.img_size), *variant.weights]) if task_of(tag) == 'imagenet']


@pytest.mark.enumerates
@pytest.mark.parametrize('variant, tag', CLASSIFIERS, ids=lambda value: getattr(value, 'name', value))
def test_images_are_those_of_the_published_test(variant, tag):
    """Pixel by pixel: timm's transform for the config of the weights, and the pipeline of this package's config."""
    pytest.importorskip('mmpretrain')
    init_default_scope('mmpretrain')
    pixels = np.random.default_rng(0).integers(256, size=(210, 300, 3), dtype=np.uint8)
    cfg = config_of(variant.name, tag if tag in variant.weights else '', None)
    data = timm.data.resolve_data_config(pretrained_cfg=cfg)
    ours = read_config(str(ROOT / f'configs/{variant.config_name(tag)}.py'))
    steps = [step for step in ours.test_dataloader.dataset.pipeline
             if step['type'] not in ('LoadImageFromFile', 'PackInputs')]
    image = Compose(steps)(dict(img=pixels[..., ::-1].copy(), img_shape=(210, 300), ori_shape=(210, 300)))['img']
    _, images = setting_of(ours)
    expected = (torch.from_numpy(image[..., ::-1].copy()) - torch.tensor(images.mean)) / torch.tensor(images.std)
    found = timm.data.create_transform(**data)(Image.fromarray(pixels)).permute(1, 2, 0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0, check_dtype=False)


@each
@torch.no_grad()
def test_all_ways_to_build_a_network_give_the_maps_of_its_classifier(network):
    """For the same weights, which have no output norms of earlier stages."""
    mmpretrain, name = pytest.importorskip('mmpretrain'), NAMES[network]
    import mmvit_backbones.integrations.mmpretrain  # noqa: F401
    config = {key: value for key, value in TINY_CONFIGS[network].items() if key not in ('type', 'stage_norm')}
    classifier, x = create(network).eval(), images()
    expected = classifier.forward_intermediates(x, intermediates_only=True)
    is_plain = classifier.backbone.plain_blocks is not None
    features = create(network, features_only=True, out_indices=len(expected))
    every = dict(config, out_indices=range(classifier.backbone.num_stages))
    others = [get_model(name, **config).backbone, get_model(name, 'backbone', **config),
              MODELS.build({**setting(VARIANTS[name]).backbone, **every}),
              mmpretrain.get_model(name, backbone=dict(
                  config if classifier.has_tokens else every, arch=dict(config['arch'], _delete_=True))).backbone]
    for backbone in (features.model.backbone, *others):
        backbone.eval().load_state_dict(classifier.backbone.state_dict(), strict=False)
    assert all(map(torch.equal, features.eval()(x), expected))
    for backbone in others:
        assert all(map(torch.equal, backbone.forward_stages(x), expected[-1:] if is_plain else expected))


def test_published_weights_are_in_timms_registry():
    assert set(timm.list_models('mm_*')) == {f'mm_{name}' for name in list_models()}
    assert {'mm_restv2_tiny', 'mm_restv2_tiny.384', 'mm_vitae_base.22k'} <= set(
        timm.list_models('mm_*', pretrained=True))
    cfg = timm.get_pretrained_cfg('mm_restv2_tiny.384')
    assert cfg.input_size == (3, 384, 384) and cfg.tag == '384'
    model = timm.create_model('mm_restv2_tiny.384', pretrained_cfg_overlay=dict(mean=(0., 0., 0.)))
    assert model.default_cfg['input_size'] == (3, 384, 384) and model.default_cfg['mean'] == (0., 0., 0.)


@torch.no_grad()
def test_networks_take_any_image_size():
    for network in ('ReSwin', 'RefinerViT'):
        model = create(network, img_size=64).eval()
        x = torch.randn(1, 3, 96, 32)
        before = model(x)
        model.set_input_size(img_size=(96, 32))
        assert torch.equal(model(x), before)
        for wrong in (dict(img_size=(1, 2, 3)), dict(patch_size=8)):
            with raises(ValueError, *wrong, *wrong.values()):
                model.set_input_size(**wrong)
        for option in (dict(strict_img_size=True), dict(dynamic_img_size=False)):
            with raises(ValueError, *option):
                create(network, **option)


@pytest.mark.parametrize('features_only', [False, True])
def test_networks_are_built_on_a_device_with_a_dtype(features_only):
    model = create('ReSwin', device='meta', dtype=torch.bfloat16, features_only=features_only).eval()
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {('meta', torch.bfloat16)}
    if not features_only:
        model.reset_classifier(3)
        assert model.get_classifier().weight.dtype == torch.bfloat16 and not model.get_classifier().training


def test_unsupported_arguments_are_refused():
    with raises(ValueError, 'restv2_tiny', '512', '384'):
        timm.create_model('mm_restv2_tiny.512', pretrained=True)
    for name in 'type', 'init_cfg', '_scope_':  # which could name any function in the config of a hub
        for features_only in False, True:
            with raises(ValueError, name, 'os.getcwd'):
                create('ReSwin', features_only=features_only, **{name: 'os.getcwd'})
    with raises(ValueError, 'global_pool', 'max'):
        create('ReSwin', global_pool='max')
    with raises(ValueError, 'cache_dir', 'here'):
        create('ReSwin', cache_dir='here')
    for indices in (0, 5, (4, ), (-5, )):  # by timm
        with raises(AssertionError, 'out of range'):
            create('ReSwin', features_only=True, out_indices=indices)
        with raises(AssertionError, 'out of range'):
            shared('ReSwin').forward_intermediates(images(), indices)
    with raises(TypeError, 'output_stride'):
        create('ReSwin', features_only=True, output_stride=16)
    with raises(ValueError, 'output_fmt', 'NCHW', 'NLC'):
        shared('ReSwin').forward_intermediates(images(), output_fmt='NLC')
