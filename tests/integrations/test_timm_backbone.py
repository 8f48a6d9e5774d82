"""Networks of timm are backbones with timm's own maps, for images of any size, and can be frozen."""
import pickle
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import raises
from mmengine.model import BaseModule
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import nn

timm = pytest.importorskip('timm')

from mmvit.inference.runtimes import open_session  # noqa: E402
from mmvit.recipes.networks import find_network  # noqa: E402
from mmvit_backbones.errors import CheckpointError, UsageError  # noqa: E402
from mmvit_backbones.export import export_onnx  # noqa: E402
from mmvit_backbones.integrations.timm_backbone import TimmBackbone  # noqa: E402
from mmvit_backbones.zoo.hubs import images_of  # noqa: E402

PLAIN = dict(depth=3, embed_dim=48, num_heads=3)
SMALL = {
    'vit_small_patch14_reg4_dinov2': PLAIN, 'vit_small_patch16_dinov3': PLAIN, 'eva02_tiny_patch14_224': PLAIN,
    'swin_tiny_patch4_window7_224': dict(embed_dim=12, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
    'convnext_atto': dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
    'sam2_hiera_tiny': dict(embed_dim=16, stages=(1, 1, 2, 1), global_att_blocks=(3, )),
    'hiera_tiny_224': dict(embed_dim=16, stages=(1, 1, 1, 1), img_size=(96, 64))}
KINDS = [
    'caformer_s18', 'convnext_atto', 'cspdarknet53', 'davit_tiny', 'densenet121', 'dla34', 'edgenext_xx_small',
    'efficientvit_b0', 'fastvit_t8', 'ghostnet_100', 'hgnetv2_b0', 'hrnet_w18_small', 'levit_128s', 'mobilenetv2_100',
    'mobilenetv3_small_050', 'mvitv2_tiny', 'poolformer_s12', 'pvt_v2_b0', 'regnetx_002', 'resnet18', 'sam2_hiera_tiny',
    'swin_tiny_patch4_window7_224', 'tf_efficientnet_lite0', 'twins_svt_small', 'vgg11', 'vit_small_patch14_dinov2',
    'vit_tiny_patch16_224']
LOCAL = ('cspdarknet53', 'dla34', 'hgnetv2_b0', 'hrnet_w18_small', 'mobilenetv2_100', 'poolformer_s12', 'regnetx_002',
         'resnet18', 'sam2_hiera_tiny', 'swin_tiny_patch4_window7_224', 'vgg11', 'vit_tiny_patch16_224')
each = pytest.mark.parametrize('name', SMALL)
# Small ones of other modules of timm.
OTHERS = """
    cait_xxs24_224 coat_lite_tiny convit_tiny cpubone_nano cspnext_tiny dpn48b efficientformer_l1 efficientformerv2_s0
    efficientvim_m1 ese_vovnet19b_slim_dw fasternet_t0 focalnet_tiny_srf gcvit_xxtiny gmixer_12_224 hiera_tiny_224
    iformer_t inception_next_atto lcnetv2_small legacy_seresnet18 lowformer_b0 mambaout_femto mobilevit_xxs nest_tiny
    repghostnet_050 resnest14d resnetv2_18 rexnet_100 selecsls42 shvit_s1 skresnet18 starnet_s050 swiftformer_xs
    test_byobnet test_maxvit test_vit_relpos tiny_vit_5m_224 visformer_tiny volo_d1_224 xception41""".split()
# Networks that resize images, do not pad them, or refuse their size, and the stages whose maps cover the image.
REFUSED = dict(crossvit_9_240=(), inception_v3=(), legacy_xception=(1, 2, 3), pit_ti_224=(1, 2), halonet26t=())


def build(name: str, **options) -> TimmBackbone:
    torch.manual_seed(0)
    return MODELS.build({'type': 'TimmBackbone', 'name': name, **SMALL[name], **options})


@each
@pytest.mark.parametrize('norm', [True, False])
@torch.no_grad()
def test_maps_are_timms_own(name, norm):
    backbone = build(name, norm=norm, out_indices=(1, -1)).eval()
    whole = build(name).model.eval()
    torch.manual_seed(0)
    height, width = size = backbone.image_size or (100, 70)
    images = torch.randn(1, 3, *size)
    stride = backbone.multiple
    padded = F.pad(images, (0, -width % stride, 0, -height % stride))
    indices = [backbone.levels[1], backbone.levels[-1]]
    expected = whole.forward_intermediates(padded, indices=indices, norm=backbone.norm, intermediates_only=True)
    maps = backbone(images)
    assert tuple(x.shape[1] for x in maps) == backbone.channels
    for x, y, stride in zip(maps, expected, backbone.output_strides, strict=True):
        torch.testing.assert_close(x, y[:, :, :-(-height // stride), :-(-width // stride)])


@pytest.mark.slow
@pytest.mark.parametrize('name', OTHERS)
@torch.no_grad()
def test_maps_of_other_modules_of_timm_cover_the_image(name):
    """They have side / stride cells, where this is even and odd."""
    with torch.device('meta'):
        backbone = TimmBackbone(name).eval()
    size = backbone.image_size or (3 * backbone.multiple, 6 * backbone.multiple)
    maps = backbone.model.forward_intermediates(torch.empty(1, 3, *size, device='meta'), indices=backbone.indices,
                                                norm=backbone.norm, intermediates_only=True)
    for x, stride in zip(maps, backbone.output_strides, strict=True):
        assert x.shape[2:] == tuple(-(-side // stride) for side in size)


@pytest.mark.slow
@pytest.mark.parametrize('name', REFUSED)
@torch.no_grad()
def test_maps_that_do_not_cover_the_image_are_refused(name):
    """The vectors stay those of timm, whose own images are not padded."""
    with torch.device('meta'):
        with raises(UsageError, name, 'out_indices', 'pre_logits'):
            TimmBackbone(name)
        if REFUSED[name]:
            assert len(TimmBackbone(name, out_indices=REFUSED[name]).channels) == len(REFUSED[name])
    backbone = TimmBackbone(name, out_type='pre_logits').eval()
    images = torch.rand(1, *backbone.model.pretrained_cfg['input_size'])
    expected = backbone.model.forward_head(backbone.model.forward_features(images), pre_logits=True)
    assert torch.equal(backbone(images)[0], expected)


@pytest.mark.parametrize('options, size', [(dict(), (224, 224)), (dict(out_indices=(0, 1, 2)), (48, 80))])
@torch.no_grad()
def test_maps_that_timm_rounds_up_are_resized(options, size):
    """Also those that are even at multiples of the whole network's stride."""
    backbone = TimmBackbone('mobilevitv2_050', **options).eval()
    images = torch.rand(1, 3, *size)
    y = backbone.model.forward_intermediates(images, indices=backbone.indices, norm=True, intermediates_only=True)[-1]
    x = backbone(images)[-1]
    assert y.shape != x.shape == (1, backbone.channels[-1], *(side // backbone.multiple for side in size))
    torch.testing.assert_close(x, F.interpolate(y, x.shape[2:], mode='bilinear'))
    smaller = backbone(images[..., :-20])[-1]  # padded to the same size, and cut
    assert smaller.shape[3] == -(-(size[1] - 20) // backbone.multiple)


@pytest.mark.parametrize('name', KINDS)
@torch.no_grad()
def test_maps_are_of_the_image(name):
    """Not of its padding: each has ceil(side / stride) cells, and those under a bright square change most."""
    torch.manual_seed(0)
    backbone = TimmBackbone(name).eval()
    for height, width in [backbone.image_size] if backbone.image_size else [(70, 97), (128, 171)]:
        images = torch.randn(2, 3, height, width) * .1
        row, column = round(height / 2), round(width * .75)
        images[1, :, row - 8:row + 8, column - 8:column + 8] += 3
        for x, stride in zip(backbone(images), backbone.output_strides, strict=True):
            assert x.shape[2:] == (-(-height // stride), -(-width // stride))
            changed = (x[1] - x[0]).square().sum(0)
            found = divmod(int(changed.argmax()), x.shape[3])
            if name in LOCAL:  # others have layers of wide reach, which random weights make strong
                for cell, place, side, count in zip(found, (row, column), (height, width), x.shape[2:]):
                    assert abs(cell + .5 - place / side * count) <= 2.5


@pytest.mark.parametrize('name', [*SMALL, 'tf_efficientnet_lite0', 'mobilenetv3_small_050', 'hgnetv2_b0'])
@torch.no_grad()
def test_vectors_are_what_timms_last_layer_reads(name):
    """With the layers between map and classifier, such as the last convolution of EfficientNet, and their weights."""
    settings = SMALL.get(name, {})
    whole = timm.create_model(name, **settings).eval()
    backbone = MODELS.build({'type': 'TimmBackbone', 'name': name, **settings, 'out_type': 'pre_logits'}).eval()
    backbone.model.load_state_dict({key: x for key, x in whole.state_dict().items()
                                    if key in backbone.model.state_dict()}, strict=True)
    images = torch.randn(2, *whole.pretrained_cfg['input_size'][:1], *(settings.get('img_size')
                                                                      or whole.pretrained_cfg['input_size'][1:]))
    vectors, = backbone(images)
    assert vectors.shape == (2, *backbone.channels)
    torch.testing.assert_close(whole.get_classifier()(vectors), whole(images))


def test_batch_norms_stay_in_evaluation_mode():
    for norm_eval in False, True:
        network = TimmBackbone('resnet18', norm_eval=norm_eval).train()
        modes = {module.training for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
        assert modes == {not norm_eval}


@each
@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 'all'])
def test_frozen_levels_get_no_gradients_and_no_states(name, frozen_stages):
    count = build(name).num_stages
    backbone = build(name, frozen_stages=count if frozen_stages == 'all' else frozen_stages).train()
    model = nn.ModuleDict(dict(backbone=backbone, head=nn.Conv2d(backbone.channels[-1], 2, 1)))
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='AdamW', lr=1.), constructor='LayerDecayConstructor',
                                              paramwise_cfg=dict(decay_rate=0.9)))
    before = {key: x.clone() for key, x in backbone.state_dict().items()}
    maps = backbone(torch.randn(2, 3, *(backbone.image_size or (64, 64))))
    wrapper.update_params(sum(x.square().mean() for x in maps) + model['head'](maps[-1]).square().mean())
    changed = {key for key, x in backbone.state_dict().items() if not torch.equal(x, before[key])}
    trained = {key for key, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert changed == trained and len(wrapper.optimizer.state) == len(trained) + 2
    assert bool(trained) is (frozen_stages != 'all') and (frozen_stages != -1 or trained == {
        key for key, _ in backbone.named_parameters()})
    frozen = [module for module in backbone.model.modules() if list(module.parameters())
              and not any(parameter.requires_grad for parameter in module.parameters())]
    assert not any(module.training for part in frozen for module in part.modules())
    assert bool(frozen) is (frozen_stages != -1)


def test_timms_weights_survive_mmengines_initialization():
    """MMEngine calls `init_weights` of any module that has it, and those of timm's ViTs are random."""
    model = BaseModule()
    model.backbone = build('vit_small_patch14_reg4_dinov2')
    before = {key: x.clone() for key, x in model.state_dict().items()}
    model.init_weights()
    assert all(torch.equal(x, before[key]) for key, x in model.state_dict().items())


def test_files_are_loaded(tmp_path):
    """Those of a training by `init_cfg`, and strictly; those of timm by timm."""
    expected = {key: x + 1 for key, x in build('convnext_atto').state_dict().items()}
    own, timms = str(tmp_path / 'own.pth'), str(tmp_path / 'timms.pth')
    torch.save({f'backbone.{key}': x for key, x in expected.items()}, own)
    torch.save({key.removeprefix('model.'): x for key, x in expected.items()}, timms)
    for options in (dict(init_cfg=dict(type='Pretrained', checkpoint=own)),
                    dict(pretrained=True, pretrained_cfg_overlay=dict(file=timms))):
        backbone = build('convnext_atto', **options)
        backbone.init_weights()
        assert all(torch.equal(x, expected[key]) for key, x in backbone.state_dict().items())
    torch.save({key.removeprefix('model.'): x * torch.nan for key, x in expected.items()}, timms)
    with raises(CheckpointError, 'timms.pth', 'stem', 'NaN'):
        build('convnext_atto', pretrained=True, pretrained_cfg_overlay=dict(file=timms))
    with raises(CheckpointError, 'timms.pth', 'model.stem'):
        build('convnext_atto', init_cfg=dict(type='Pretrained', checkpoint=timms)).init_weights()
    with raises(CheckpointError, 'convnext_atto', 'FileNotFoundError', 'missing.pth'):
        build('convnext_atto', pretrained=True, pretrained_cfg_overlay=dict(file='missing.pth'))


@pytest.mark.parametrize('name, taken_away, lacking', [
    ('resnet18', 'layer1.0.conv1.weight', 1), ('resnet18', '', 100), ('resnet18', 'fc.', 0),
    ('vit_small_patch16_dinov3', 'blocks.0.attn.qkv.weight', 1)])
def test_files_must_be_complete(name, taken_away, lacking, tmp_path):
    """timm says in its log alone which weights stay random."""
    arguments = SMALL.get(name, {})
    weights = timm.create_model(name, **arguments).state_dict()
    torch.save({key: x for key, x in weights.items() if not key.startswith(taken_away)} | dict(other=torch.ones(2)),
               tmp_path / 'file.pth')
    options = dict(type='TimmBackbone', name=name, pretrained=True,
                   pretrained_cfg_overlay=dict(file=str(tmp_path / 'file.pth')), **arguments)
    if lacking:
        with raises(CheckpointError, 'file.pth', f'{lacking} weights', name, 'init_cfg'):
            MODELS.build(options)
    else:
        pickle.dumps(MODELS.build(options))  # without what watched the loading


def test_files_may_lack_what_an_argument_adds(tmp_path):
    torch.save(timm.create_model('vit_tiny_patch16_224').state_dict(), tmp_path / 'file.pth')
    overlay = dict(file=str(tmp_path / 'file.pth'))
    assert TimmBackbone('vit_tiny_patch16_224', pretrained=True, pretrained_cfg_overlay=overlay, init_values=1e-5)


def test_recipes_start_from_files_and_register_the_network(tmp_path):
    """Those of timm, also with averages, those of a training with the network, and its backbone alone."""
    expected = {key: x + 1 for key, x in TimmBackbone('resnet18').state_dict().items()}
    torch.save(expected, tmp_path / 'backbone.pth')
    timms = {key.removeprefix('model.'): x for key, x in expected.items()}
    torch.save(dict(state_dict={key: x * 2 for key, x in timms.items()}, state_dict_ema=timms), tmp_path / 'two.pth')
    torch.save(timms, tmp_path / 'timms.pth')
    torch.save(dict(state_dict={f'backbone.{key}': x for key, x in expected.items()}), tmp_path / 'training.pth')
    for network in 'timm:resnet18', *(dict(type=kind, name='resnet18') for kind in ('TimmBackbone', TimmBackbone)):
        for file in 'timms.pth', 'training.pth', 'two.pth', 'backbone.pth':
            found = find_network(network, str(tmp_path / file))
            backbone = MODELS.build(found.backbone)
            backbone.init_weights()
            assert all(torch.equal(x, expected[key]) for key, x in backbone.state_dict().items())
            assert found.weights and found.imports == (TimmBackbone.__module__, )
        assert not find_network(network, False).weights
        with raises(CheckpointError, 'missing.pth'):
            find_network(network, 'missing.pth')
    for prefix in 'net.', 'model.net.':
        torch.save(dict(state_dict={f'{prefix}{key}': x for key, x in timms.items()}), tmp_path / 'net.ckpt')
        with raises(CheckpointError, 'net.ckpt', prefix, '--prefix'):
            MODELS.build(find_network('timm:resnet18', str(tmp_path / 'net.ckpt')).backbone)
    with raises(UsageError, 'timm:resnet18', 'timm://resnet18', 'file'):
        find_network('timm:resnet18', 'timm://resnet18')
    network = dict(type='TimmBackbone', name='vit_tiny_patch16_224.augreg_in21k', pretrained=True)
    assert find_network(network).images.mean == [127.5] * 3 != find_network(network, False).images.mean


def test_recipes_start_from_files_of_jax(tmp_path):
    """Which timm converts for some networks."""
    name, file, width, block = 'vit_tiny_patch16_224', str(tmp_path / 'jax.npz'), 12, 'Transformer/encoderblock_0'
    shapes = {'embedding': (16, 16, 3, width), 'Transformer/encoder_norm': (width, ),
              **{f'{block}/LayerNorm_{i}': (width, ) for i in (0, 2)},
              **{f'{block}/MultiHeadDotProductAttention_1/{part}': (width, 3, 4) for part in ('query', 'key', 'value')},
              f'{block}/MultiHeadDotProductAttention_1/out': (3, 4, width),
              f'{block}/MlpBlock_3/Dense_0': (width, 4 * width), f'{block}/MlpBlock_3/Dense_1': (4 * width, width)}
    weights = {}
    for part, shape in shapes.items():
        bias = shape[1:] if part.endswith(('query', 'key', 'value')) else shape[-1:]
        weights[f'{part}/bias'] = np.ones(bias, 'float32')
        weights[f'{part}/{"scale" if "norm" in part.lower() else "kernel"}'] = np.ones(shape, 'float32')
    np.savez(file, cls=np.ones((1, 1, width), 'float32'), **weights,
             **{'Transformer/posembed_input/pos_embedding': np.ones((1, 197, width), 'float32')})
    network = dict(type='TimmBackbone', name=name, depth=1, embed_dim=width)
    backbone = MODELS.build(find_network(network, file, 'classification').backbone)
    assert all((x == 1).all() for x in backbone.parameters())
    with raises(UsageError, 'resnet18', 'jax.npz'):
        find_network('timm:resnet18', file)


def test_mmpretrains_layer_decay_reads_the_layers():
    pytest.importorskip('mmpretrain')
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(
        type='ImageClassifier', backbone=dict(type='TimmBackbone', name='vit_small_patch16_dinov3', **PLAIN),
        neck=dict(type='GlobalAveragePooling'), head=dict(type='LinearClsHead', num_classes=4, in_channels=48)))
    wrapper = build_optim_wrapper(model, dict(
        optimizer=dict(type='AdamW', lr=1., weight_decay=0.05), paramwise_cfg=dict(layer_decay_rate=0.5),
        constructor='LearningRateDecayOptimWrapperConstructor'))
    rates = {group['param_name']: group['lr'] for group in wrapper.optimizer.param_groups}
    assert rates['head.fc.weight'] == 1 and rates['backbone.model.patch_embed.proj.weight'] == 0.5**4


@pytest.mark.parametrize('name', ['vit_small_patch14_reg4_dinov2', 'convnext_atto'])
def test_tables_and_tokens_have_no_weight_decay(name):
    model = nn.ModuleDict(dict(backbone=build(name)))
    wrapper = build_optim_wrapper(model, dict(optimizer=dict(type='AdamW', lr=1., weight_decay=0.1),
                                              constructor='LayerDecayConstructor', paramwise_cfg=dict(decay_rate=0.9)))
    decays = {id(x): group['weight_decay'] for group in wrapper.param_groups for x in group['params']}
    exempt = {key for key, x in model.backbone.model.named_parameters() if not decays[id(x)]}
    assert {key for key in ('cls_token', 'reg_token', 'pos_embed') if hasattr(model.backbone.model, key)} <= exempt
    assert all(x.ndim < 2 or key in model.backbone.model.no_weight_decay()
               for key, x in model.backbone.model.named_parameters() if key in exempt)


def test_a_missing_timm_is_named(monkeypatch):
    for name in 'timm', 'timm.models':
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, TimmBackbone.__module__)
    with raises(UsageError, 'TimmBackbone', 'pip install timm'):
        import_modules_from_strings([TimmBackbone.__module__])  # MMEngine's, for custom_imports
    with raises(UsageError, 'timm://resnet18', 'pip install timm'):
        images_of('timm://resnet18')


@pytest.mark.compiler
@torch.no_grad()
def test_exported_networks_take_images_of_any_size(tmp_path):
    pytest.importorskip('onnxruntime')
    backbone = build('vit_small_patch16_dinov3', **dict(PLAIN, depth=1)).eval()
    export_onnx(backbone, tmp_path / 'model.onnx')
    session = open_session(tmp_path / 'model.onnx', 'onnxruntime')
    for size in ((100, 70), (33, 130)):
        images = torch.randn(1, 3, *size)
        torch.testing.assert_close(torch.as_tensor(session(dict(images=images.numpy()))['map0']), backbone(images)[0],
                                   atol=1e-5, rtol=1e-4)


def test_wrong_arguments_are_refused():
    for options, words in (
            (dict(frozen_stages=5), ['frozen_stages', 4, 5]), (dict(out_indices=(4, )), ['out_indices', 3]),
            (dict(out_indices=(2, 1)), ['out_indices', 'ascending']), (dict(out_indices=()), ['from -4 to -1']),
            (dict(out_indices=4), ['out_indices', 4]), (dict(window_size=7), ['window_size', 'convnext_atto'])):
        with raises(UsageError, *words):
            build('convnext_atto', **options)
    with raises(UsageError, 'vit_small_patch16_dino3', 'vit_small_patch16_dinov3'):
        TimmBackbone('vit_small_patch16_dino3')
    with raises(UsageError, 'twins_svt_small', 'frozen_stages', 1):
        TimmBackbone('twins_svt_small', frozen_stages=0)
    with raises(UsageError, '96 x 64', '96 x 128', 'img_size', 'hiera_tiny_224'):
        build('hiera_tiny_224')(torch.rand(1, 3, 96, 128))
