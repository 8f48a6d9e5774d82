"""Weights are listed with their state, and cached files are checked; other tests download."""
import pytest
import torch
from golden import fill_state_dict
from golden_files import NETWORKS
from helpers import raises
from subcommands import call

from mmvit_backbones.errors import UsageError
from mmvit_backbones.zoo.download import cached_file
from mmvit_backbones.zoo.listing import describe_networks, network_table
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
    assert 'browser: 224; cached, never loaded: 384' in ' '.join(network_table([large]).split())
    small, = describe_networks('swin_vsa_small')
    assert small['related_weights'].startswith('timm://swin_small')
    assert small['related_weights'] in network_table([small])
    with raises(UsageError, 'rest_huge', 'rest_lite'):
        describe_networks('rest_huge')
    with raises(UsageError, 'sort', 'size', 'parameters'):
        describe_networks(sort='size')


def test_check_verifies_cached_files(home, capsys):
    weights = fill_state_dict(NETWORKS['golden_vitae_t']['state_dict'], torch.float32)
    path = cached_file(WEIGHTS['vitae_tiny'])
    torch.save(weights, path)
    call('weights download', 'vitae*', '--check')
    assert capsys.readouterr().out == f'{path}: matches vitae_tiny\n'
    assert path.with_name(f'{path.name}.sha256').exists()
    path.write_bytes(b'something else')
    with raises(UsageError, '1 of 1 checkpoints'):
        call('weights download', 'vitae*', '--check')
    assert 'has changed since' in capsys.readouterr().err


@pytest.mark.parametrize('patterns, message', [
    (['reswin_huge', 'swin_vsa_tiny'], 'no published weights match reswin_huge or swin_vsa_tiny'),
    (['restv2_tiny', 'swin_vsa_tiny'], '4 of 4 checkpoints could not be downloaded')])
def test_unavailable_weights_are_reported(home, patterns, message):
    with raises(UsageError, message):
        call('weights download', *patterns)
