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
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope
from tiny_configs import TINY_CONFIGS
from torch import nn

import mmvit_backbones  # noqa: F401
from mmvit_backbones.zoo.building import model_config
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


# ---- initial values

def deviation(weight: torch.Tensor) -> float:
    return weight.detach().double().std().item()


@pytest.mark.parametrize('name, config', [('rest_lite', 'rest_lite'), ('vitaev2_small', 'vitaev2_s'),
                                          ('reswin_tiny', 'reswin_t')])
@pytest.mark.parametrize('where', ['zoo', 'config'])
def test_initial_weights_of_classifiers(name, config, where):
    """Weights are truncated normal with standard deviation 0.02; ReSwin's have PyTorch's default."""
    head = model_config(VARIANTS[name], 'classification')['head'] if where == 'zoo' else \
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
