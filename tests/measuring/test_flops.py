"""Parameters, multiply-adds, kernels, bytes and memory of networks."""
import sys

import pytest
from helpers import raises

from mmvit.measuring import Traffic, count_flops, count_traffic
from mmvit.measuring.flops import in_gigabytes
from mmvit.utils.counters import in_place_product
from mmvit.utils.tables import columns_of
from mmvit_backbones import list_models
from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.variants import VARIANTS

# GMACs counted in the code of ResT; its README states lower figures (1.4, 1.9, 4.3, 7.9).
COUNTED = dict(rest_lite=1.54, rest_small=2.11, rest_base=4.65, rest_large=8.39)
# Sums for Swin-VSA, whose GMACs are not published: Swin (4.5, 8.7), 7 x 7 convolutions (0.07, 0.11) and predictors.
COUNTED.update(swin_vsa_tiny=4.57, swin_vsa_small=8.82)


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
    assert row.gmacs == pytest.approx(COUNTED.get(name, row.published_gmacs), rel=0.02)


def test_a_backbone_at_another_size():
    row, = count_flops(['rest_lite'], (64, 96), 'backbone')
    assert row[:3] == ('rest_lite', 64, 96) and row.published_gmacs is None
    assert row.parameters < VARIANTS['rest_lite'].num_params
    assert row.gmacs == pytest.approx(1.54 * 64 * 96 / 224**2, rel=0.05)


def test_traffic_depends_on_the_arguments():
    """Four times the images in half the bytes per value need twice the memory."""
    small, large = (count_traffic(['rest_lite'], (64, 96), batch, dtype, 'backbone')[0].step
                    for batch, dtype in ((16, 'float32'), (64, 'bfloat16')))
    assert small['kernels'] == pytest.approx(large['kernels'], rel=0.1) and small['saved_gb'] > 0.1
    assert large['saved_gb'] == pytest.approx(2 * small['saved_gb'], rel=0.2)


def test_only_the_same_settings_are_compared_with_the_authors():
    assert count_traffic(['restv2_tiny'])[0].authors and not count_traffic(['restv2_tiny'], with_cp=True)[0].authors


def test_rows_have_gigabytes_and_the_counts_of_the_authors():
    counted = Traffic('net', dict(kernels=30), dict(kernels=50), (20, 1.2, 40, 5.))
    assert [(row['pass'], row['kernels'], row['authors_kernels'], row['authors_moved_gb']) for row in counted.rows] == [
        ('forward', 30, 20, 1.2), ('step', 50, 40, 5.)]
    assert 'authors_kernels' not in columns_of(counted._replace(authors=None).rows)
    assert in_gigabytes(dict(kernels=7, moved=1_234_567_890, peak=4_999_999)) == dict(
        kernels=7, moved_gb=1.23, peak_gb=0.)
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
