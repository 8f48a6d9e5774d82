"""Times and memory relative to a baseline, and throughput."""
import sys

import pytest
import torch
from helpers import Clock, raises
from torch import nn

from mmvit.analysis import benchmark, count_traffic, measure_throughput, speed
from mmvit_backbones.errors import UsageError


@pytest.mark.slow
@pytest.mark.parametrize('baseline', ['mmpretrain:resnet18_8xb32_in1k', 'timm:deit_tiny_patch16_224'])
def test_memory_relative_to_another_librarys_network(baseline):
    found = benchmark(['reswin_tiny'], baseline, dict(window_size=4), size=(32, 32), memory_only=True)
    assert found.models['reswin_tiny']['saved_ratio'] > 0


@torch.no_grad()
def test_a_network_relative_to_itself_without_gradients_outside():
    threads = torch.get_num_threads()
    with torch.inference_mode():
        found = benchmark(['rest_lite'], 'rest_lite', dict(drop_path_rate=0.), dense=True, size=(64, 64), batch_size=2,
                          repeats=1)
        figures = found.models['rest_lite']
        assert figures['saved_ratio'] == 1 and figures['saved_bytes_per_image'] > 1e6
        assert figures['forward'] > 0 and figures['train_step'] > 0 and torch.get_num_threads() == threads
        assert count_traffic(['rest_lite'], (64, 64), 2, task='backbone')[0].step['kernels'] > 100


@pytest.mark.parametrize('network, options, words', [
    ('resnet50', {}, ['resnet50', 'reswin_tiny']),
    ('reswin_tiny', dict(baseline='torch:x'), ['baseline must be NAME, timm:NAME or mmpretrain:NAME', 'torch:x']),
    ('reswin_tiny', dict(baseline='resnet'), ['baseline resnet: name must be one of']),
    ('reswin_tiny', dict(baseline='timm:none'), ['baseline timm:none: ', 'Unknown model']),
    ('reswin_tiny', dict(baseline='mmpretrain:none'), ['baseline mmpretrain:none: ']),
    ('reswin_tiny', dict(baseline='mmpretrain:none', dense=True), ['mmpretrain', 'dense']),
    ('rest_lite', dict(baseline='rest_lite', override=dict(windows=3)), ['override', 'windows']),
    ('rest_lite', dict(baseline='rest_lite', device='gpu'), ['device', 'gpu']),
    ('rest_lite', dict(baseline='rest_lite', dense=True, size=(32, 32), memory_only=True),
     ['more than 1 value per channel'])])
def test_wrong_arguments_are_refused(network, options, words):
    with raises(UsageError, *words):
        benchmark([network], **options)


@pytest.mark.parametrize('name, words', [
    ('reswin_tiny', ['baseline reswin_tiny', 'needs mmpretrain']), ('timm:any', ['timm:any', 'pip install timm'])])
def test_a_missing_library_is_named(name, words, monkeypatch):
    for module in [module for module in sys.modules if module.partition('.')[0] in ('mmpretrain', 'timm')]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in 'mmpretrain', 'timm':
        monkeypatch.setitem(sys.modules, module, None)
    with raises(UsageError, *words):
        benchmark(['rest_lite'], name, size=(32, 32))


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
    ({}, (4, 3, 224, 224)), (dict(dense=True), (1, 3, 448, 672)), (dict(size=(8, 6), batch_size=2), (2, 3, 8, 6))])
def test_times_are_relative_to_the_baseline(options, size, monkeypatch):
    clock = Clock(monkeypatch)
    model, baseline = Slow(clock, 3., 1.), Slow(clock, 2., 4.)
    monkeypatch.setattr(speed, 'find_names', list)
    monkeypatch.setattr(speed, 'build', lambda *arguments: model)
    monkeypatch.setattr(speed, 'build_other', lambda *arguments: baseline)
    found = benchmark(['net'], repeats=3, **options)
    saved = 3 * size[2] * size[3] * 4  # the input in float32
    assert found.models == dict(net=dict(forward=.25, train_step=1.5, saved_bytes_per_image=saved, saved_ratio=1.))
    assert set(model.sizes) == {size} and len(model.sizes) == 1 + 2 * 4
    for words in f'{size[2]} x {size[3]}', f'batch {size[0]}, cpu, 2 CPU threads, median of 3 ratios':
        assert words in found.about
    assert found.saved_bytes_per_image_of_baseline == saved
    found = benchmark(['net'], repeats=3, memory_only=True, **options)
    assert found.models['net'] == dict(saved_bytes_per_image=saved, saved_ratio=1.)
    model.seconds[False] = .1
    assert measure_throughput(['net'], [8, 16], repeats=1) == dict(net={8: 10., 16: 10.})
    assert model.sizes[-1] == (16, 3, 16, 16) and model.sizes[-3] == (16, 3, 8, 8)
