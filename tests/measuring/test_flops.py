"""Parameters, multiply-adds, kernels and bytes of networks."""
import sys
from functools import cache
from statistics import geometric_mean

import pytest
from helpers import raises, save_run
from traffic import count_classifier

from mmvit.configs.files import read_config
from mmvit.measuring import count_flops
from mmvit_backbones import get_model, list_models
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.variants import VARIANTS

# The authors' classifiers with batches of 64 images of 224 x 224 pixels in bfloat16: kernels and GB moved in a forward
# pass, then in a training step.
AUTHORS = {
    'reswin_tiny': (333, 14.41, 815, 38.13), 'remvitv2_tiny': (592, 20.24, 1255, 59.45),
    'revit_base': (254, 18.79, 740, 60.11), 'rest_lite': (189, 5.4, 532, 15.3),
    'rest_small': (277, 6.68, 768, 18.95), 'rest_base': (277, 9.64, 768, 27.48),
    'restv2_tiny': (286, 8.98, 765, 24.46), 'restv2_small': (430, 12.09, 1143, 32.92),
    'regionvit_tiny': (567, 10.78, 1755, 37.12), 'regionvit_small': (567, 16.16, 1755, 55.7),
    'vitae_tiny': (316, 8.76, 850, 24.01), 'vitaev2_small': (517, 17.75, 1381, 51.36),
    'vitaev2_vsa_small': (929, 23.69, 2460, 63.87), 'vitae_base': (306, 23.62, 878, 71.88),
    'refiner_vit_small_plain': (444, 39.85, 1169, 107.23),
}

UNITS = dict(kernels=1, moved=1e9)

SMALLEST = {variant.family.name: variant.name
            for variant in sorted(VARIANTS.values(), key=lambda variant: -variant.num_params)}


# Counting takes up to half a minute. Other tests count the parameters of all networks.
@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.slow] if name in SMALLEST.values() else [pytest.mark.large])
    for name in list_models()])
def test_figures_are_those_published(name):
    row, = count_flops([name])
    assert row.parameters == VARIANTS[name].num_params
    assert row.gmacs == pytest.approx(VARIANTS[name].gmacs, abs=0.0051)
    stated = VARIANTS[name].counted_gmacs or VARIANTS[name].published_gmacs
    assert stated is None or row.gmacs == pytest.approx(stated, rel=0.02)


def test_a_backbone_at_another_size():
    row, = count_flops(['rest_lite'], (64, 96), 'backbone')
    assert row[:3] == ('rest_lite', 64, 96)
    assert row.parameters < VARIANTS['rest_lite'].num_params
    assert row.gmacs == pytest.approx(1.54 * 64 * 96 / 224**2, rel=0.05)


def test_a_detectors_backbone_takes_sizes_that_its_classifier_refuses():
    assert count_flops(['regionvit_tiny_plus'], (64, 256), 'backbone')[0].gmacs > 0
    with raises(UsageError, 'regionvit_tiny_plus', '64 x 256', 'window_size=14'):
        count_flops(['regionvit_tiny_plus'], (64, 256))


def test_a_training_is_counted_as_it_predicts(tmp_path):
    """Its test pipeline resizes images to those of the published classifier."""
    file = str(save_run(read_config('imagenet_rest_lite'), get_model('rest_lite'), tmp_path / 'epoch_1.pth'))
    rows = count_flops([file, 'rest_lite'], 300)
    assert rows[1][3:] == count_flops(['rest_lite'])[0][3:] and rows[1][:3] == (file, 300, 300)
    with raises(UsageError, 'backbone', file):
        count_flops([file], task='backbone')


@cache
def ratios(name: str) -> tuple[float, ...]:
    """Returns a network's figures, in the order of :data:`AUTHORS`, divided by those of the authors' code."""
    counted = count_classifier(name)
    found = (counted[part][figure] / unit for part in ('forward', 'step') for figure, unit in UNITS.items())
    return tuple(figure / theirs for figure, theirs in zip(found, AUTHORS[name], strict=True))


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[] if name == 'restv2_tiny' else [pytest.mark.large]) for name in AUTHORS])
def test_traffic_is_about_that_of_the_authors_code_or_less(name):
    kernels, moved, step_kernels, step_moved = ratios(name)
    assert 0.4 < kernels < 1.2 and 0.4 < step_kernels < 1.2 and moved < 1.06 and step_moved < 1.06


@pytest.mark.large
def test_mean_traffic_is_less_than_that_of_the_authors_code():
    """ResT moves more bytes for its accuracy in half precision: softmax maps in float32."""
    kernels, moved, step_kernels, step_moved = map(geometric_mean, zip(*map(ratios, AUTHORS)))
    assert max(kernels, step_kernels) <= 0.85 and max(moved, step_moved) <= 0.83
    assert geometric_mean(ratios(name)[i] for name in AUTHORS if name.startswith('rest_') for i in (1, 3)) <= 1.03


def test_wrong_arguments_are_refused(monkeypatch):
    with raises(UsageError, 'resnet50', 'reswin_tiny'):
        count_flops(['resnet50'])
    with raises(UsageError, 'task', 'detection', 'backbone'):
        count_flops(['rest_lite'], task='detection')
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmpretrain']:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    with raises(UsageError, 'needs mmpretrain', 'pip install', 'backbone'):
        count_flops(['rest_lite'])
