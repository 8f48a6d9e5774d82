"""Parameters, multiply-adds, kernels, bytes and memory of networks."""
import sys

import pytest
from helpers import raises

from mmvit.measuring import count_flops, count_traffic
from mmvit.utils.counters import in_place_product
from mmvit_backbones import list_models
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.variants import VARIANTS

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
    assert row.gmacs == pytest.approx(VARIANTS[name].counted_gmacs or VARIANTS[name].published_gmacs, rel=0.02)


def test_a_backbone_at_another_size():
    row, = count_flops(['rest_lite'], (64, 96), 'backbone')
    assert row[:3] == ('rest_lite', 64, 96) and row.published_gmacs is None
    assert row.parameters < VARIANTS['rest_lite'].num_params
    assert row.gmacs == pytest.approx(1.54 * 64 * 96 / 224**2, rel=0.05)


def test_traffic_depends_on_the_arguments():
    """Four times the images in half the bytes per value need twice the memory."""
    small, large = (count_traffic(['rest_lite'], (64, 96), batch, dtype, 'backbone')[1]
                    for batch, dtype in ((16, 'float32'), (64, 'bfloat16')))
    assert small['kernels'] == pytest.approx(large['kernels'], rel=0.1) and small['saved_gb'] > 0.1
    assert large['saved_gb'] == pytest.approx(2 * small['saved_gb'], rel=0.2)


def test_only_the_same_settings_are_compared_with_the_authors():
    forward, step = count_traffic(['restv2_tiny'])
    assert (forward['pass'], step['pass']) == ('forward', 'step') and step['moved_gb'] > forward['moved_gb'] > 1
    assert step['kernels'] == pytest.approx(step['authors_kernels'], rel=0.3) and step['authors_moved_gb'] == 24.46
    assert forward['authors_moved_gb'] == 8.98 and 'authors_kernels' not in count_traffic(['rest_lite'], (64, 64))[0]


def test_products_in_place_are_counted():
    assert in_place_product((2, 3, 7), (2, 3, 5), (2, 5, 7)) == 2 * 2 * 3 * 5 * 7


@pytest.mark.parametrize('function', [count_flops, count_traffic])
def test_wrong_arguments_are_refused(function, monkeypatch):
    with raises(UsageError, 'resnet50', 'reswin_tiny'):
        function(['resnet50'])
    with raises(UsageError, 'task', 'detection', 'backbone'):
        function(['rest_lite'], task='detection')
    with raises(UsageError, 'dtype', 'int8', 'float16'):
        count_traffic(['rest_lite'], dtype='int8')
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmpretrain']:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    with raises(UsageError, 'needs mmpretrain', 'pip install', 'backbone'):
        function(['rest_lite'])
