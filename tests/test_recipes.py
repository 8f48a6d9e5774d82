"""Details of the recipes equal those of the authors' recipes."""
import csv
from collections.abc import Iterator
from copy import deepcopy
from functools import cache, partial
from itertools import islice

import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope
from small_recipes import use_float32
from tiny_configs import TINY_CONFIGS
from torch import nn

import mmvit_backbones  # noqa: F401
from mmvit_backbones.backbones.vitaev2 import ViTAEv2
from mmvit_backbones.layers import DropPath
from mmvit_backbones.zoo.published import RESULTS
from mmvit_backbones.zoo.variants import VARIANTS


def read_curve(name: str) -> list[dict[str, str]]:
    """Returns the rows of a log of a published run, by the name of its config; ``sources`` has the logs themselves."""
    with (ROOT / f'tests/published_curves/{name}.csv').open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


CURVES = {row['config']: row for row in read_curve('sources')}


@cache
def resolved(name: str) -> Config:
    return Config.fromfile(ROOT / f'configs/{name}.py')


def read(name: str) -> Config:
    return deepcopy(resolved(name))


def stepped(config: Config, epoch_length: int | None) -> Iterator[float]:
    """Yields the learning rate before each update; ``epoch_length`` is the number of updates per epoch."""
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=config.optim_wrapper.optimizer.lr)
    schedulers = []
    for settings in deepcopy(config.param_scheduler):
        kind = PARAM_SCHEDULERS.get(settings.pop('type'))
        converts = settings.pop('convert_to_iter_based', False)
        build = partial(kind.build_iter_from_epoch, epoch_length=epoch_length) if converts else kind
        schedulers.append(build(optimizer=optimizer, **settings))
    while True:
        yield optimizer.param_groups[0]['lr']
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize('name', [name for name in CURVES if 'lr' in read_curve(name)[0]])
def test_learning_rates_are_those_in_the_logs(name):
    """The logged rate is constant within an epoch. Here it is the same at the epoch's first update."""
    logged, updates = [float(row['lr']) for row in read_curve(name)], 25
    ours = list(islice(stepped(read(name), updates), 0, updates * len(logged), updates))
    torch.testing.assert_close(ours, logged, rtol=6e-3, atol=0)


@pytest.mark.parametrize('name', CURVES)
def test_runs_are_as_long_as_the_published_ones_and_reach_their_results(name):
    curve, rows = CURVES[name], read_curve(name)
    assert read(name).train_cfg[f'max_{"epochs" if curve["unit"] == "epoch" else "iters"}'] == int(curve['length'])
    metric, factor = dict(imagenet=('top1', 1), upernet=('ade20k', 1)).get(name.split('_')[0], ('box', 100))
    if 'independent' not in curve['remark']:
        assert min(abs(factor * float(row['metric']) - RESULTS[name][metric]) for row in rows if row['metric']) < 0.05


@pytest.mark.parametrize('name, iterations', [('upernet_vitaev2_s', 160_000),
                                              ('upernet_vitaev2_s_window_cityscapes', 40_000)])
def test_learning_rates_of_segmenters_decay_from_the_first_iteration(name, iterations):
    """As in mmseg 0.x: the warm-up multiplies the decay, which begins at iteration 0."""
    rates = list(islice(stepped(read(name), None), 0, 6001, 500))
    for at, rate in zip(range(0, 6001, 500), rates):
        warmup = min(1, 1e-6 + (1 - 1e-6) * at / 1500)
        assert rate == pytest.approx(6e-5 * warmup * (1 - at / iterations), rel=2e-3), at


def test_images_of_vitae_are_resized_by_two_interpolations(monkeypatch):
    """The interpolation of the crop and of RandAugment is random, and the pipeline runs on an image."""
    from mmpretrain.registry import TRANSFORMS
    config = read('imagenet_vitae_t')
    init_default_scope(config.default_scope)
    transforms = [TRANSFORMS.build(step) for step in config.train_dataloader.dataset.pipeline]
    for step, kind in ((transforms[1], lambda crop: crop.interpolation),
                       (transforms[3], lambda augment: augment.hparams['interpolation'])):
        assert {kind(branch.transforms[0]) for branch in step.transforms} == {'bilinear', 'bicubic'}
    results = dict(img_path=str(next(ROOT.glob('data/flowers_mini/val/*/*.jpg'))), gt_label=0)
    np.random.seed(0)
    for transform in transforms:
        results = transform(results)
    assert results['inputs'].shape == (3, 224, 224)


# ---- weight decay

@pytest.mark.parametrize('name, keys, decay', [
    ('upernet_vitaev2_s', ('conv_branch.norms', ), 0.01),
    ('upernet_vitaev2_vsa_s', ('conv_branch.norms', ), 0.01),
    ('upernet_restv2_t', ('patch_embeds.0.norm1', 'patch_embeds.0.norm2'), 0.01),
    ('mask_rcnn_restv2_t', ('backbone.norm0', 'backbone.norm1', 'backbone.norm2', 'backbone.norm3'), 0.05),
])
def test_norms_that_the_authors_decay(name, keys, decay):
    """Weight decay applies to the norms that the authors decay, and to no other norms."""
    config = read(name)
    use_float32(config)
    init_default_scope(config.default_scope)
    with torch.device('meta'):
        model = nn.ModuleDict(dict(backbone=MODELS.build(dict(config.model.backbone, init_cfg=None))))
    groups = build_optim_wrapper(model, config.optim_wrapper).param_groups
    decay_of = {id(p): group['weight_decay'] for group in groups for p in group['params']}
    norms = {n: decay_of[id(p)] for n, p in model.named_parameters() if 'norm' in n}
    decayed = {n for n, value in norms.items() if value}
    assert decayed == {n for n in norms if any(key in n for key in keys)}
    assert all(any(key in n for n in decayed) for key in keys)
    assert {norms[n] for n in decayed} == {decay}


# ---- initial values

def deviation(weight: torch.Tensor) -> float:
    return weight.detach().double().std().item()


@pytest.mark.parametrize('name, config', [('rest_lite', 'rest_lite'), ('vitaev2_small', 'vitaev2_s'),
                                          ('reswin_tiny', 'reswin_t')])
@pytest.mark.parametrize('where', ['zoo', 'config'])
def test_initial_weights_of_classifiers(name, config, where):
    """Weights are truncated normal with standard deviation 0.02; ReSwin's have PyTorch's default."""
    head = VARIANTS[name].model_config('classification')['head'] if where == 'zoo' else \
        dict(read(f'imagenet_{config}').model.head)
    head = MODELS.build(dict(head, _scope_='mmpretrain'))
    head.init_weights()
    is_reswin = name == 'reswin_tiny'
    assert deviation(head.fc.weight) == pytest.approx((3 * 768)**-0.5 if is_reswin else 0.02, rel=0.05)
    assert bool(head.fc.bias.any()) == is_reswin


def test_linear_layers_of_reswin_have_the_default_initialization():
    """The authors' code defines another initialization, but does not use it."""
    model = MODELS.build(dict(type='ReSwin', **TINY_CONFIGS['ReSwin']))
    model.init_weights()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert deviation(module.weight) == pytest.approx((3 * module.in_features)**-0.5, rel=0.15), name
            assert module.bias is None or module.bias.any()


@pytest.mark.parametrize('network, is_default', [('SwinVSA', False), ('ViTAEv2VSA', True)])
def test_initial_projections_of_varied_size_windows(network, is_default):
    """ViTAEv2-VSA has PyTorch's default. Swin-VSA starts from ordinary windows."""
    model = MODELS.build(dict(type=network, **TINY_CONFIGS[network]))
    predictors = [p for name, p in model.named_parameters() if 'predictor' in name or 'sampling' in name]
    assert predictors and any(p.any() for p in predictors) == is_default
    qkvs = {name: module for name, module in model.named_modules() if name.endswith('.qkv')}
    assert qkvs
    for name, module in qkvs.items():
        expected = (3 * module.in_features)**-0.5 if is_default else 0.02
        assert deviation(module.weight) == pytest.approx(expected, rel=0.15), name
    mlp = next(module for name, module in model.named_modules() if name.endswith('mlp.fc1'))
    assert deviation(mlp.weight) == pytest.approx(0.02, rel=0.15)


# ---- dropout and stochastic depth

@pytest.mark.parametrize('arch, rate, mean, last', [
    ('small', 0.1, 0.037, 0.069), ('48m', 0.25, 0.097, 0.188), ('base', 0.4, 0.158, 0.306)])
def test_stochastic_depth_of_vitaev2_is_as_published(arch, rate, mean, last):
    with torch.device('meta'):
        rates = [m.drop_prob for m in ViTAEv2(arch, drop_path_rate=rate).modules() if isinstance(m, DropPath)]
    assert np.mean(rates) == pytest.approx(mean, abs=6e-4) and rates[-1] == pytest.approx(last, abs=6e-4)


@pytest.mark.parametrize('network', ['ViTAE', 'ViTAE-plain', 'ViTAEv2', 'ViTAEv2VSA'])
def test_mlps_have_dropout_before_and_after_the_last_layer(network):
    model = MODELS.build({'type': network, **TINY_CONFIGS[network], 'drop_rate': 0.5})
    zeros = []
    for name, module in model.named_modules():
        if 'cells.' in name and name.endswith('.mlp'):
            module.fc2.register_forward_pre_hook(lambda _, inputs: zeros.append((inputs[0] == 0).double().mean()))
            module.register_forward_hook(lambda _, inputs, out: zeros.append((out == 0).double().mean()))
    model.train()(torch.randn(2, 3, 64, 64))
    assert zeros and all(0.3 < share < 0.7 for share in zeros)


# ---- test-time augmentation

@pytest.mark.parametrize('name, base', [('upernet_restv2_t', 512),
                                        ('upernet_vitaev2_s_window_cityscapes', 1024)])
def test_segmenters_are_tested_at_six_scales_and_mirrored(name, base):
    """As published, the factors 0.5 to 1.75 multiply the scale of Resize, not the image size."""
    from mmseg.registry import TRANSFORMS
    config = read(name)
    init_default_scope(config.default_scope)
    views = TRANSFORMS.build(config.tta_pipeline[1])
    image = np.zeros((32, 64, 3), np.uint8)
    labels = str(next(ROOT.glob('data/camvid_mini/masks/val/*.png')))
    out = views(dict(img=image, img_shape=(32, 64), ori_shape=(32, 64), seg_map_path=labels, seg_fields=[],
                     reduce_zero_label=False, img_path=''))
    sizes = [tuple(x.shape[1:]) for x in out['inputs']]
    assert sorted(set(sizes)) == [(int(base * ratio), 2 * int(base * ratio)) for ratio in
                                  (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)]
    assert len(sizes) == 12 and sum(bool(sample.flip) for sample in out['data_samples']) == 6


@pytest.mark.parametrize('name', ['upernet_vitaev2_s', 'upernet_vitaev2_vsa_s'])
def test_images_of_vitaev2_are_padded_in_the_test(name):
    """As in the authors' test; the padding is noted, so that mmseg removes it from predictions."""
    from mmseg.structures import SegDataSample
    config = read(name)
    init_default_scope(config.default_scope)
    preprocess = MODELS.build(config.model.data_preprocessor)
    data = preprocess(dict(inputs=[torch.zeros(3, 50, 70)], data_samples=[SegDataSample()]))
    assert data['inputs'].shape == (1, 3, 64, 96)
    assert tuple(data['data_samples'][0].img_padding_size) == (0, 26, 0, 14)
