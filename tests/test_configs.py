"""Configs build models whose parameters get gradients."""
import json
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from helpers import ROOT
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from small_recipes import shrunk_model


def recipes() -> list:
    """Returns the configs; all but ReSwin-T's are marked slow."""
    return [pytest.param(path, id=path.stem, marks=[] if 'reswin_t' in path.stem else [pytest.mark.slow])
            for path in sorted(ROOT.glob('configs/*.py'))]


@pytest.fixture(scope='module', params=recipes())
def config(request) -> Config:
    """Returns each config, read once for all its tests."""
    config = Config.fromfile(request.param)
    if find_spec(config.default_scope) is None:
        pytest.skip(f'{config.default_scope} is optional and not installed')
    for name in config.custom_imports.imports:
        import_module(name)
    return config


@cache
def built_backbone(backbone: str) -> tuple[float, list[int]]:
    """Returns the drop path rate and the channels of a backbone, given as JSON and built on the meta device."""
    with torch.device('meta'):
        backbone = MODELS.build(json.loads(backbone))
    rates = [module.drop_prob for module in backbone.modules() if type(module).__name__ == 'DropPath']
    return max(rates), [backbone.channels[i] for i in backbone.out_indices]


def test_backbone_fits(config):
    """The backbone can be built, has the config's drop path rate, and returns the channels that neck or head need."""
    model = config.model
    rate, channels = built_backbone(json.dumps(model.backbone.to_dict(), sort_keys=True))
    # As published, no cell of ViTAEv2 reaches the rate.
    assert rate == pytest.approx(model.backbone.drop_path_rate, rel=0.35 if 'ViTAEv2' in model.backbone.type else 1e-6)
    neck = model.get('neck') or {}
    reader = neck if 'in_channels' in neck else model.get('decode_head') or model.get('panoptic_head') or model.head
    required = reader.in_channels
    assert channels == required if isinstance(required, list) else channels[-1] == required


@cache
def without_gradient(model: str) -> list[str]:
    """Returns the trainable parameters that get no gradient on random images; the model is given as JSON."""
    config = ConfigDict(json.loads(model))
    model = revert_sync_batchnorm(MODELS.build(config)).train()  # synchronized batch norms require GPUs
    model.init_weights()  # otherwise some of DINO's parameters are uninitialized
    inputs = torch.randn(2, 3, 64, 64)
    if config['_scope_'] == 'mmdet':
        from mmdet.testing import demo_mm_inputs
        data = demo_mm_inputs(2, [[3, 64, 64]] * 2, num_classes=80, with_mask=True, use_box_type=True)
        data = model.data_preprocessor(data, training=True)
        inputs, samples = data['inputs'], data['data_samples']
    elif config['_scope_'] == 'mmseg':
        from mmseg.structures import SegDataSample
        samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(19, (1, 64, 64)))) for _ in inputs]
    else:
        from mmpretrain.structures import DataSample
        samples = [DataSample().set_gt_label(label) for label in range(2)]
    loss, _ = model.parse_losses(model(inputs, samples, mode='loss'))
    loss.backward()
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]


@pytest.mark.slow
def test_every_parameter_gets_a_gradient(config):
    """DDP requires gradients of all parameters. Recipes with equal shrunk models are tested once."""
    init_default_scope(config.default_scope)
    assert not config.get('find_unused_parameters')
    model = shrunk_model(config)
    model.get('data_preprocessor', {}).pop('batch_augments', None)  # pads to 1024 pixels
    if config.default_scope == 'mmpretrain':
        model.pop('train_cfg', None)  # Mixup is done by the preprocessor, which is not called
    assert without_gradient(json.dumps(model, sort_keys=True)) == []
