"""Tests `mmvit flops`, `mmvit benchmark` and `mmvit models`."""
import json

import pytest
import torch

from mmvit_backbones import list_models
from mmvit_backbones.zoo.variants import VARIANTS

# GMACs counted in the code of ResTv1; its README states lower figures (1.4, 1.9, 4.3, 7.9).
COUNTED = dict(rest_lite=1.54, rest_small=2.11, rest_base=4.65, rest_large=8.39)
# Sums for Swin-VSA, whose GMACs are not published: Swin (4.5, 8.7), 7 x 7 convolutions (0.07, 0.11) and predictors.
COUNTED.update(swin_vsa_tiny=4.57, swin_vsa_small=8.82)


@pytest.mark.slow
@pytest.mark.parametrize('name', list_models())
def test_figures_are_those_published(run, name):
    row, = json.loads(run('flops', name, '--json'))
    assert row['parameters'] == VARIANTS[name].num_params
    assert row['gmacs'] == pytest.approx(VARIANTS[name].gmacs, abs=0.0051)
    assert row['gmacs'] == pytest.approx(COUNTED.get(name, row['published_gmacs']), rel=0.02)


def test_multiply_adds_at_another_size(run):
    table = run('flops', 'reswin_tiny', '--size', '64', '96', '--backbone')
    assert 'height x width' in table and '64x96' in table and '27,520,' in table


@pytest.mark.slow
def test_relative_figures_of_a_network_against_itself(run):
    output = run('benchmark', 'reswin_tiny', '--against', 'reswin_tiny', '--size', '32', '32',
                 '--batch-size', '1', '--repeats', '1', '--threads', str(torch.get_num_threads()))
    figures = json.loads(output)['models']['reswin_tiny']
    assert figures['saved_ratio'] == 1 and figures['saved_bytes_per_image'] > 1e6
    assert figures['forward'] > 0 and figures['train_step'] > 0


@pytest.mark.slow
@pytest.mark.parametrize('other', ['mmpretrain:resnet18_8xb32_in1k', 'timm:resnet18', 'timm:deit_tiny_patch16_224'])
def test_memory_against_another_librarys_network(run, other):
    output = run('benchmark', 'reswin_tiny', '--against', other, '--memory-only', '--size', '32', '32',
                 '--override', 'window_size=4')
    assert json.loads(output)['models']['reswin_tiny']['saved_ratio'] > 0


@pytest.mark.parametrize('arguments, message', [
    (['reswin_tiny', '--against', 'torch:x'], '--against must be NAME, timm:NAME or mmpretrain:NAME, got torch:x'),
    (['reswin_tiny', '--against', 'resnet'], '--against resnet: name must be one of'),
    (['reswin_tiny', '--against', 'timm:none'], '--against timm:none: RuntimeError: Unknown model'),
    (['reswin_tiny', '--against', 'mmpretrain:none'], '--against mmpretrain:none: '),
    (['reswin_tiny', '--against', 'mmpretrain:none', '--dense'], 'mmpretrain cannot be combined with --dense'),
    (['torch:x', '--runtime', 'eager'], 'network must be NAME, timm:NAME or mmpretrain:NAME, got torch:x'),
    *[(['reswin_tiny', '--runtime', 'eager', option, *values], f'{option} cannot be combined with --runtime')
      for option, *values in (['--override', 'window_size=4'], ['--dense'], ['--against', 'reswin_tiny'],
                              ['--throughput', '32'], ['--memory-only'])],
    (['reswin_tiny', '--runtime', 'eager', '--device', 'meta'], '--device must be cpu with --runtime, got meta'),
    (['rest_lite', '--throughput', '32', '--against', 'rest_lite'], '--against cannot be combined with --throughput'),
    (['reswin_tiny', '--images', 'data'], '--images requires --runtime')])
def test_mistakes_of_a_benchmark_are_reported_in_one_line(run, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run('benchmark', *arguments)
    error, = capsys.readouterr().err.splitlines()
    assert message in error


@pytest.mark.parametrize('verb', [['flops'], ['flops', '--traffic'], ['benchmark'], ['models']])
def test_unknown_networks_are_reported_in_one_line(run, verb, capsys):
    with pytest.raises(SystemExit):
        run(*verb, 'resnet50')
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith('error: ') and 'resnet50' in error and 'reswin_tiny' in error


def test_only_the_same_settings_are_compared_with_the_authors(run):
    assert 'authors' in run('flops', 'restv2_tiny', '--traffic')
    assert 'authors' not in run('flops', 'restv2_tiny', '--traffic', '--with-cp')


def test_list_of_networks(run):
    rows = {row['name']: row for row in json.loads(run('models', 'res*', '--json'))}
    assert rows['reswin_tiny']['parameters'] == 28_288_354 and rows['reswin_tiny']['top1'] == 81.5
    assert rows['restv2_tiny']['weights']['384'] == 'by hand' and 'vitae_tiny' not in rows
    assert 'by hand: 224, 384' in run('models', 'restv2_large')
