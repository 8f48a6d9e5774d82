"""Tests `mmvit flops`, `mmvit benchmark` and `mmvit models`."""
import json
import sys
from types import SimpleNamespace

import pytest
import torch
from helpers import raises
from subcommands import parser_of
from torch import nn

from mmvit_backbones import list_models
from mmvit_backbones.analysis import counters as measure
from mmvit_backbones.cli import benchmark, flops, runtimes
from mmvit_backbones.errors import UsageError
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


def test_table_of_a_backbone_at_another_size(run):
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
      for option, *values in (['--override', 'window_size=4'], ['--against', 'reswin_tiny'], ['--throughput', '32'],
                              ['--memory-only'])],
    (['reswin_tiny', '--runtime', 'eager', '--device', 'meta'], '--device must be cpu with --runtime, got meta'),
    (['rest_lite', '--throughput', '32', '--against', 'rest_lite'], '--against cannot be combined with --throughput'),
    (['reswin_tiny', '--images', 'data'], '--images requires --runtime')])
def test_mistakes_of_a_benchmark_are_reported_in_one_line(run, capsys, arguments, message):
    with pytest.raises(SystemExit):
        run('benchmark', *arguments)
    error, = capsys.readouterr().err.splitlines()
    assert message in error


def test_images_that_a_network_cannot_train_on_are_reported_in_one_line(run, capsys):
    with pytest.raises(SystemExit):
        run('benchmark', 'rest_lite', '--dense', '--against', 'rest_lite', '--size', '32', '32', '--memory-only')
    error, = capsys.readouterr().err.splitlines()
    assert error.startswith('error: ') and 'more than 1 value per channel' in error


@pytest.mark.parametrize('name, words', [
    ('reswin_tiny', ['--against reswin_tiny', 'needs mmpretrain']), ('timm:any', ['timm:any', 'pip install timm'])])
def test_missing_library_is_named(name, words, monkeypatch):
    def build(*args):
        raise ImportError('this needs mmpretrain')

    monkeypatch.setattr(benchmark, 'LIBRARIES', {'': build, 'timm': build})
    with raises(UsageError, *words):
        benchmark.build_other(name, '--against', False, (32, 32))


@pytest.mark.parametrize('arguments, remedy', [
    (['flops', 'reswin_tiny'], '--backbone'), (['flops', 'reswin_tiny', '--traffic'], '--backbone'),
    (['benchmark', 'reswin_tiny', '--against', 'timm:resnet18', '--size', '32', '32'], '--dense')])
def test_missing_mmpretrain_is_reported_in_one_line(run, arguments, remedy, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mmpretrain']:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    with pytest.raises(SystemExit):
        run(*arguments)
    error, = capsys.readouterr().err.splitlines()
    assert all(word in error for word in ('needs mmpretrain', 'pip install', remedy))


@pytest.mark.parametrize('subcommand', [['flops'], ['flops', '--traffic'], ['benchmark'], ['models']])
def test_unknown_networks_are_reported_in_one_line(run, subcommand, capsys):
    with pytest.raises(SystemExit):
        run(*subcommand, 'resnet50')
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


def test_counts_are_printed_in_gigabytes_with_the_ratio_to_the_authors(run):
    counted = dict(forward=dict(kernels=30, moved_gb=1.5, peak_gb=.25),
                   step=dict(kernels=50, moved_gb=4., peak_gb=2., saved_gb=.125))
    assert [' '.join(line.split()) for line in flops.describe('net', counted, (20, 1.2, 40, 5.)).splitlines()] == [
        'net forward 30 kernels 1.50 GB moved (authors: 20 kernels, 1.2 GB; ratios: 1.50, 1.25), peak 0.25 GB',
        'net step 50 kernels 4.00 GB moved (authors: 40 kernels, 5.0 GB; ratios: 1.25, 0.80), peak 2.00 GB, '
        'saved 0.12 GB']
    assert flops.in_gigabytes(dict(kernels=7, moved=1_234_567_890, peak=4_999_999)) == dict(
        kernels=7, moved_gb=1.23, peak_gb=0.)
    assert measure.in_place_product((2, 3, 7), (2, 3, 5), (2, 5, 7)) == 2 * 2 * 3 * 5 * 7


def test_traffic_depends_on_the_options(run):
    """Four times the images in half the bytes per value need twice the memory."""
    options = ['rest_lite', '--traffic', '--backbone', '--size', '64', '96', '--json']
    small, large = (json.loads(run('flops', *options, *more))['rest_lite']['step'] for more in (
        ['--batch-size', '16', '--dtype', 'float32'], []))
    assert small['kernels'] == pytest.approx(large['kernels'], rel=0.1) and small['saved_gb'] > 0.1
    assert large['saved_gb'] == pytest.approx(2 * small['saved_gb'], rel=0.2)
    for option in ['--batch-size', '1'], ['--dtype', 'float16'], ['--with-cp']:
        with pytest.raises(SystemExit):
            run('flops', 'rest_lite', *option)


def test_figures_at_another_size_are_not_published(run):
    row, = json.loads(run('flops', 'rest_lite', '--size', '64', '96', '--json'))
    assert (row['height'], row['width'], row['parameters'], row['published_gmacs']) == (64, 96, 10_508_300, None)
    assert row['gmacs'] == pytest.approx(1.54 * 64 * 96 / 224**2, rel=0.05)
    lines = flops.table([row, dict(row, published_gmacs=1.4, gmacs=1.2345)]).splitlines()
    assert [line.split()[-2:] for line in lines[1:]] == [['10,508,300', f'{row["gmacs"]:.2f}'], ['1.23', '1.4']]


class Clock:
    """Replaces the clock: time passes only in :meth:`take`."""

    def __init__(self, monkeypatch) -> None:
        self.now = 0.
        monkeypatch.setattr('time.perf_counter', lambda: self.now)

    def take(self, seconds: float) -> None:
        self.now += seconds


def test_latency_and_throughput(monkeypatch):
    """The first call is a warm-up. Speedups are relative to the first function."""
    clock, calls = Clock(monkeypatch), {'slow': [], 'fast': []}

    def function(name: str, *seconds: float):
        def run(images) -> None:
            calls[name].append(len(images))
            clock.take(len(images) * seconds[(len(calls[name]) - 1) // 2])
        return run

    slow, fast = function('slow', 9, .1, .2, .6), function('fast', 9, .05, .05, .1)
    found = runtimes.measure(dict(slow=slow, fast=fast), torch.zeros(4, 3, 2, 2), 3)
    assert calls == dict(slow=[1, 4] * 4, fast=[1, 4] * 4)
    assert found == dict(slow=pytest.approx(dict(ms=200., images_per_second=5., speedup=1.)),
                         fast=pytest.approx(dict(ms=50., images_per_second=20., speedup=4.)))


class Slow(nn.Conv2d):
    """A network whose calls take a given time per image in training and in evaluation."""

    def __init__(self, clock: Clock, training: float, evaluation: float) -> None:
        super().__init__(3, 5, 1)
        self.clock, self.seconds, self.sizes = [clock], {True: training, False: evaluation}, []

    def forward(self, images):
        self.clock[0].take(self.seconds[self.training] * len(images))
        self.sizes.append(tuple(images.shape))
        return super().forward(images)

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize('options, size', [
    ([], (4, 3, 224, 224)), (['--dense'], (1, 3, 448, 672)), (['--size', '8', '6', '--batch-size', '2'], (2, 3, 8, 6))])
def test_times_are_relative_to_the_reference(options, size, monkeypatch):
    clock = Clock(monkeypatch)
    model, other = Slow(clock, 3., 1.), Slow(clock, 2., 4.)
    monkeypatch.setattr(benchmark, 'build', lambda name, dense, overrides: model)
    monkeypatch.setattr(benchmark, 'build_other', lambda *arguments: other)
    args = parser_of('benchmark').parse_args(['net', '--repeats', '3', *options])
    found = benchmark.ratios(args, ['net'])
    saved = 3 * size[2] * size[3] * 4  # the input in float32
    assert found['models'] == dict(net=dict(
        forward=.25, train_step=1.5, saved_bytes_per_image=saved, saved_ratio=1.))
    assert set(model.sizes) == {size} and len(model.sizes) == 1 + 2 * 4
    for words in f'{size[2]} x {size[3]}', f'batch {size[0]}, cpu, 2 CPU threads, median of 3 ratios':
        assert words in found['about']
    assert found['saved_bytes_per_image_of_other'] == saved
    args.memory_only = True
    assert benchmark.ratios(args, ['net'])['models']['net'] == dict(saved_bytes_per_image=saved, saved_ratio=1.)
    args = parser_of('benchmark').parse_args(['net', '--throughput', '8', '16', '--repeats', '1'])
    model.seconds[False] = .1
    assert benchmark.throughputs(args, ['net']) == dict(net={8: 10., 16: 10.})
    assert model.sizes[-1] == (16, 3, 16, 16) and model.sizes[-3] == (16, 3, 8, 8)


@pytest.mark.parametrize('options, words', [
    (dict(runtime=['eager'], against='x'), ['--against', '--runtime']), (dict(throughput=[8], size=[8, 8]), ['--size']),
    (dict(images=['a']), ['--images requires --runtime']), (dict(runtime=['eager'], device='cuda'), ['cpu', 'cuda']),
    (dict(throughput=[8], memory_only=True), ['--memory-only']), (dict(throughput=[8], dense=True), None),
    (dict(runtime=['eager'], images=['a']), ['--images', '.pth', 'got only x']),
    (dict(runtime=['eager'], config='a'), ['--config', '.pth', 'got only x']),
    (dict(csv='a'), ['--csv requires --runtime']),
    (dict(runtime=['eager'], networks=['a.pth'], size=[8, 8]), ['--size', 'network']),
    (dict(runtime=['eager'], networks=['a.pth'], images=['a'], batch_size=2), None),
    (dict(runtime=['eager'], networks=['x', 'a.pth'], images=['a'], size=[8, 8]), None)])
def test_options_that_exclude_each_other(options, words):
    args = SimpleNamespace(**{**vars(parser_of('benchmark').parse_args(['x'])), **options})
    if words is None:
        benchmark.check_options(args)
    else:
        with raises(UsageError, *words):
            benchmark.check_options(args)
