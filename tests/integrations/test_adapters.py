"""The adapters in their libraries."""
import pytest
import torch
from helpers import ROOT, raises
from mmengine.registry import MODELS
from tiny_configs import TINY_CONFIGS

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


def test_timm_makes_a_pyramid(timm):
    model = timm.create_model('mmvit_reswin_tiny', features_only=True, out_indices=(1, 3), in_chans=4, arch=ARCH)
    assert model.feature_info.channels() == [32, 128] and model.feature_info.reduction() == [8, 32]
    assert [info['index'] for info in model.feature_info.get_dicts()] == [1, 3]
    assert model.default_cfg['input_size'] == (3, 224, 224)
    maps = model(torch.randn(2, 4, 64, 96))
    assert isinstance(maps, list) and [tuple(x.shape) for x in maps] == [(2, 32, 8, 12), (2, 128, 2, 3)]


def test_timm_loads_a_checkpoint(timm, tmp_path):
    torch.save(tiny_reswin(out_indices=(3, )).state_dict(), tmp_path / 'model.pth')
    arguments = dict(features_only=True, arch=ARCH, out_indices=(3, ), checkpoint=str(tmp_path / 'model.pth'))
    first, second = (timm.create_model('mmvit_reswin_tiny', **arguments).eval() for _ in range(2))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(first(x)[0], second(x)[0])


def test_transformers_reads_feature_info(timm):
    """The largest reader of timm's contract."""
    transformers = pytest.importorskip('transformers')
    config = transformers.TimmBackboneConfig(backbone='mmvit_reswin_tiny', out_indices=(0, 1, 2, 3),
                                             use_pretrained_backbone=False)
    model = transformers.TimmBackbone(config, arch=ARCH)
    assert model.channels == CHANNELS
    assert [x.shape[1] for x in model(torch.randn(1, 3, 64, 64)).feature_maps] == CHANNELS


# ---- Hugging Face


@pytest.fixture
def huggingface():
    pytest.importorskip('transformers')
    import mmvit_backbones.integrations.huggingface as huggingface
    return huggingface


@pytest.mark.parametrize('network', ['ReSwin', 'RegionViT', 'ViTAE, plain', 'ResTv2'])
@torch.no_grad()
def test_saved_backbones_come_back(huggingface, network, tmp_path):
    from transformers import AutoBackbone
    config = huggingface.MMViTConfig(backbone={'type': network, **TINY_CONFIGS[network]}, out_indices=[-1])
    model = huggingface.MMViTBackbone(config).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoBackbone.from_pretrained(str(tmp_path)).eval()
    x = torch.randn(1, 3, 70, 97)
    maps, expected = loaded(x).feature_maps, model.backbone(x)
    assert loaded.out_features == [f'stage{model.backbone.num_stages - 1}'] and len(maps) == 1
    torch.testing.assert_close(maps[0], expected[0])


@pytest.mark.parametrize('network, tiny', [
    ('reswin_tiny', 'ReSwin'), ('regionvit_tiny', 'RegionViT'), ('refiner_vit_small', 'RefinerViT')])
def test_saved_classifiers_come_back(huggingface, network, tiny, tmp_path):
    from transformers import AutoModel, AutoModelForImageClassification
    config = huggingface.MMViTConfig(dict(type=tiny, **TINY_CONFIGS[tiny]), network=network, num_labels=3)
    model = huggingface.MMViTForImageClassification(config)
    x = torch.randn(2, 3, 64, 64)
    model.train()(x, labels=torch.tensor([0, 2])).loss.backward()
    assert model.model.head.fc.weight.grad.isfinite().all()
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(str(tmp_path)).eval()
    assert loaded(x).logits.shape == (2, 3)
    torch.testing.assert_close(loaded(x).logits, model(x).logits)
    features = AutoModel.from_pretrained(str(tmp_path)).eval()(x)
    torch.testing.assert_close(features.last_hidden_state, model.model.forward_features(x))
    assert features.pooler_output.shape == (2, model.model.head.channels)


@pytest.mark.parametrize('network, tiny', [('reswin_tiny', 'ReSwin'), ('refiner_vit_small', 'RefinerViT')])
@torch.no_grad()
def test_pipeline_of_a_saved_folder(huggingface, network, tiny, tmp_path):
    from PIL import Image
    from timm.data import create_transform
    from transformers import AutoImageProcessor, pipeline

    from mmvit_backbones.zoo.variants import find_variant
    names, family = {0: 'cat', 1: 'dog', 2: 'owl'}, find_variant(network).family
    config = huggingface.MMViTConfig(dict(type=tiny, **TINY_CONFIGS[tiny]), network=network, id2label=names,
                                     label2id={name: i for i, name in names.items()}, image_size=56)
    model = huggingface.MMViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    image = Image.open(next((ROOT / 'data/flowers_mini/val').rglob('*.jpg')))
    transform = create_transform(56, crop_pct=0.875, interpolation='bicubic', mean=[m / 255 for m in family.mean],
                                 std=[s / 255 for s in family.std])
    expected = transform(image)[None]
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors='pt').pixel_values
    assert pixels.shape == expected.shape and (pixels - expected).abs().mean() < 0.01
    best, *_ = pipeline('image-classification', str(tmp_path), device='cpu')(image)
    scores = model(pixels).logits.softmax(1)[0]
    assert best['label'] == names[int(scores.argmax())] and best['score'] == pytest.approx(float(scores.max()))
    own = huggingface.BitImageProcessorFast(size=dict(shortest_edge=40))
    own.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path).size['shortest_edge'] == 40


def test_blocks_are_recomputed_in_transformers(huggingface):
    model = huggingface.MMViTForImageClassification(huggingface.MMViTConfig(network='vitae_tiny', num_labels=5))
    for switch, is_on in ((model.gradient_checkpointing_enable, True), (model.gradient_checkpointing_disable, False)):
        switch()
        assert model.model.backbone.with_cp == model.is_gradient_checkpointing == is_on


def test_published_weights_in_transformers(huggingface, tmp_path, monkeypatch):
    from golden import fill_state_dict
    from golden_files import NETWORKS

    from mmvit_backbones.zoo.download import cached_file
    from mmvit_backbones.zoo.weights import WEIGHTS
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    weights = fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32)
    torch.save(weights, cached_file(WEIGHTS['vitae_tiny']))
    model = huggingface.MMViTForImageClassification.from_published('vitae_tiny')
    assert torch.equal(model.model.head.fc.weight, weights['head.weight'])
    other = huggingface.MMViTForImageClassification.from_published('vitae_tiny', num_labels=4)
    own, theirs = other.model.backbone.state_dict(), model.model.backbone.state_dict()
    assert other.config.num_labels == 4 and all(torch.equal(own[key], theirs[key]) for key in own)


def test_hugging_faces_upernet_trains(huggingface, tmp_path):
    from transformers import UperNetConfig, UperNetForSemanticSegmentation
    names = [f'stage{i}' for i in range(4)]
    backbone = huggingface.MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH), out_features=names)
    model = UperNetForSemanticSegmentation(UperNetConfig(
        backbone_config=backbone, num_labels=3, hidden_size=8, auxiliary_channels=8, auxiliary_in_channels=64))
    out = model(torch.randn(2, 3, 64, 96), labels=torch.randint(3, (2, 64, 96)))
    assert out.logits.shape == (2, 3, 64, 96)
    out.loss.backward()
    assert all(p.grad is not None for p in model.backbone.parameters())
    model.save_pretrained(tmp_path)
    loaded = UperNetForSemanticSegmentation.from_pretrained(tmp_path).eval()
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(loaded(x).logits, model.eval()(x).logits)


def test_what_transformers_cannot_have_is_told(huggingface):
    with raises(ValueError, 'out_indices'):
        huggingface.MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH, out_indices=(1, )))
    model = huggingface.MMViTBackbone(huggingface.MMViTConfig(backbone=dict(type='ReSwin', arch=ARCH)))
    with pytest.raises(ValueError, match='output_hidden_states'):
        model(torch.randn(1, 3, 32, 32), output_hidden_states=True)


def test_no_path_is_dropped_unless_asked_for(timm, huggingface):
    from mmvit_backbones.layers.drop_path import DropPath
    models = [timm.create_model('mmvit_reswin_tiny', arch=ARCH), huggingface.MMViTForImageClassification(
        huggingface.MMViTConfig(dict(type='ReSwin', arch=ARCH), network='reswin_tiny'))]
    assert not any(module.drop_prob for model in models for module in model.modules() if isinstance(module, DropPath))


# ---- detectron2


def test_detectron2s_description_holds():
    """Tests the documented interface, because detectron2 has no packages."""
    from mmvit_backbones.integrations.detectron2 import Detectron2Backbone
    backbone = Detectron2Backbone(tiny_reswin(out_indices=(0, 2, 3)))
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


def test_a_plain_network_is_no_pyramid():
    from mmvit_backbones.integrations.torchvision import BackboneWithFPN
    with raises(ValueError, 'strides', '[16, 16, 16, 16]'):
        BackboneWithFPN(MODELS.build(dict(type='RefinerViT', **TINY_CONFIGS['RefinerViT'])))
