"""Tests the adapters; test_timm.py, test_huggingface.py and test_mmpretrain.py contain more tests."""
import pytest
import torch
from helpers import fresh_model, raises
from mmengine.registry import MODELS
from tiny_configs import NAMES, TINY_CONFIGS
from torch.testing import assert_close

from mmvit_backbones.backbones import Backbone
from mmvit_backbones.layers.drop_path import DropPath

ARCH = TINY_CONFIGS['ReSwin']['arch']
CHANNELS, STRIDES = [16, 32, 64, 128], [4, 8, 16, 32]


def tiny_reswin(**arguments) -> torch.nn.Module:
    return MODELS.build(dict(type='ReSwin', arch=ARCH, **arguments))


# ---- timm


@pytest.fixture
def timm():
    timm = pytest.importorskip('timm')
    import mmvit_backbones.integrations.timm  # noqa: F401
    return timm


def test_timm_builds_a_pyramid(timm):
    model = timm.create_model('mm_reswin_tiny', features_only=True, out_indices=(1, 3), in_chans=4, arch=ARCH)
    assert model.feature_info.channels() == [32, 128] and model.feature_info.reduction() == [8, 32]
    assert [info['index'] for info in model.feature_info.get_dicts()] == [1, 3]
    assert model.default_cfg['input_size'] == (3, 224, 224)
    maps = model(torch.randn(2, 4, 64, 96))
    assert isinstance(maps, list) and [tuple(x.shape) for x in maps] == [(2, 32, 8, 12), (2, 128, 2, 3)]


def test_timm_loads_a_checkpoint(timm, tmp_path):
    saved, x = tiny_reswin(out_indices=(3, )).eval(), torch.randn(1, 3, 32, 32)
    torch.save(saved.state_dict(), tmp_path / 'model.pth')
    loaded = timm.create_model('mm_reswin_tiny', features_only=True, arch=ARCH, out_indices=(3, ),
                               checkpoint=str(tmp_path / 'model.pth'))
    assert torch.equal(loaded.eval()(x)[0], saved(x)[0])


def test_transformers_reads_feature_info(timm):
    """Transformers uses more of timm's interface than other libraries."""
    transformers = pytest.importorskip('transformers')
    config = transformers.TimmBackboneConfig(backbone='mm_reswin_tiny', out_indices=(0, 1, 2, 3),
                                             use_pretrained_backbone=False)
    model = transformers.TimmBackbone(config, arch=ARCH)
    assert model.channels == CHANNELS
    assert [x.shape[1] for x in model(torch.randn(1, 3, 64, 64)).feature_maps] == CHANNELS


def test_drop_path_is_off_by_default(timm):
    model = timm.create_model('mm_reswin_tiny', arch=ARCH)
    assert not any(module.drop_prob for module in model.modules() if isinstance(module, DropPath))


@pytest.mark.parametrize('network', ['ReSwin', 'RefinerViT', 'RegionViT', 'ViTAE-plain'])  # each kind of head
@torch.no_grad()
def test_an_fx_graph_returns_the_maps(timm, network):
    """The backbone is a single node of the graph."""
    from torchvision.models.feature_extraction import create_feature_extractor
    arguments = {key: value for key, value in TINY_CONFIGS[network].items() if key not in ('stage_norm', 'type')}
    model = timm.create_model(f'mm_{NAMES[network]}', **arguments).eval()
    graph = create_feature_extractor(model, ['backbone', 'head'], tracer_kwargs=dict(leaf_modules=[Backbone]))
    for size in ((64, 96), (70, 49)):
        x = torch.randn(1, 3, *size)
        outputs = graph(x)
        assert torch.equal(outputs['head'], model(x))
        assert_close(outputs['backbone'], model.backbone(x), rtol=0, atol=0)


def test_timm_reports_the_strides_of_regional_maps(timm):
    arguments = dict(out_tokens='regional', window_size=4, features_only=True, out_indices=(1, 3))
    model = timm.create_model('mm_regionvit_tiny', **arguments).eval()
    sides = [x.shape[-1] for x in model(torch.randn(1, 3, 128, 128))]
    assert model.feature_info.reduction() == [128 // side for side in sides] == [32, 128]


# ---- detectron2


@pytest.mark.parametrize('network, arguments', [('ReSwin', {}), ('RegionViT', dict(out_tokens='regional'))], ids=str)
def test_detectron2_output_shape_matches_the_maps(network, arguments):
    """Tests the documented interface without detectron2, which is not on PyPI."""
    from mmvit_backbones.integrations.detectron2 import Detectron2Backbone
    backbone = Detectron2Backbone(fresh_model(network, out_indices=(0, 2, 3), **arguments))
    shapes, maps = backbone.output_shape(), backbone(torch.randn(1, 3, 65, 97))
    assert list(maps) == list(shapes) == ['stage0', 'stage2', 'stage3']
    for name, x in maps.items():
        stride = shapes[name].stride
        assert x.shape[1:] == (shapes[name].channels, -(-65 // stride), -(-97 // stride))


# ---- torchvision


def test_torchvisions_mask_rcnn_trains():
    from torchvision.models.detection import MaskRCNN, backbone_utils

    from mmvit_backbones.integrations.torchvision import BackboneWithFPN
    backbone = BackboneWithFPN(tiny_reswin(), out_channels=16)
    assert isinstance(backbone, backbone_utils.BackboneWithFPN)
    detector = MaskRCNN(backbone, num_classes=3, min_size=64, max_size=96, rpn_post_nms_top_n_train=50)
    box = torch.tensor([[8., 8., 40., 40.]])
    mask = torch.zeros(1, 64, 90, dtype=torch.uint8)
    mask[:, 8:40, 8:40] = 1
    losses = detector([torch.rand(3, 64, 90)], [dict(boxes=box, labels=torch.tensor([1]), masks=mask)])
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


def test_torchvision_refuses_a_network_without_a_pyramid():
    from mmvit_backbones.integrations.torchvision import BackboneWithFPN
    with raises(ValueError, 'strides', '[16, 16, 16, 16]'):
        BackboneWithFPN(MODELS.build(dict(type='RefinerViT', **TINY_CONFIGS['RefinerViT'])))
