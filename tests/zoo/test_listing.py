"""Weights are listed with their state; other tests download."""
import pytest
from helpers import raises
from subcommands import call

from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.download import cached_file
from mmvit_backbones.zoo.listing import describe_networks
from mmvit_backbones.zoo.weights import WEIGHTS


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv('MMVIT_HOME', str(tmp_path))
    return tmp_path


def test_networks_have_figures_and_weights(home):
    names = [row['name'] for row in describe_networks('rest_*')]
    assert names == ['rest_base', 'rest_large', 'rest_lite', 'rest_small']
    large, = describe_networks('restv2_large')
    assert large['weights'] == {'224': 'browser', '384': 'browser'} and large['top1'] > 80
    cached_file(WEIGHTS['restv2_large_384']).write_bytes(b'file')
    large, = describe_networks('restv2_large')
    assert large['weights'] == {'224': 'browser', '384': 'cached'}
    small, = describe_networks('swin_vsa_small')
    assert small['related_weights'].startswith('timm://swin_small')
    with raises(UsageError, 'rest_huge', 'rest_lite'):
        describe_networks('rest_huge')


@pytest.mark.parametrize('patterns, message', [
    (['reswin_huge', 'swin_vsa_tiny'], 'no published weights match reswin_huge or swin_vsa_tiny'),
    (['restv2_tiny', 'swin_vsa_tiny'], '4 of 4 checkpoints could not be downloaded')])
def test_unavailable_weights_are_reported(home, patterns, message):
    with raises(UsageError, message):
        call('weights download', *patterns)
