"""Times and memory relative to a baseline."""
import sys

import pytest
import torch
from helpers import raises

from mmvit.measuring import benchmark
from mmvit.measuring.speed import Contender, time_contenders
from mmvit_backbones.errors import UsageError


@pytest.mark.slow
@pytest.mark.parametrize('baseline', ['mmpretrain:resnet18_8xb32_in1k', 'timm:deit_tiny_patch16_224'])
def test_memory_relative_to_another_librarys_network(baseline):
    found = benchmark(['reswin_tiny'], baseline, dict(window_size=4), size=32, memory_only=True)
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


@pytest.mark.parametrize('network, options, words', [
    ('resnet50', {}, ['resnet50', 'reswin_tiny']),
    ('reswin_tiny', dict(baseline='torch:x'), ['baseline must be NAME, timm:NAME or mmpretrain:NAME', 'torch:x']),
    ('reswin_tiny', dict(baseline='resnet'), ['baseline resnet: name must be one of']),
    ('reswin_tiny', dict(baseline='timm:none'), ['baseline timm:none: ', 'Unknown model']),
    ('reswin_tiny', dict(baseline='mmpretrain:none'), ['baseline mmpretrain:none: ']),
    ('reswin_tiny', dict(baseline='mmpretrain:none', dense=True), ['mmpretrain', 'dense']),
    ('rest_lite', dict(baseline='rest_lite', override=dict(windows=3)), ['override', 'windows']),
    ('rest_lite', dict(baseline='rest_lite', device='gpu'), ['device', 'gpu']),
    ('rest_lite', dict(precision='int8'), ['precision', 'bfloat16', 'int8']),
    ('rest_lite', dict(kernels=['cuda']), ['kernels', 'triton', 'cuda']),
    ('rest_lite', dict(kernels='triton'), ['kernels', 'triton']),
    ('timm:resnet18', dict(baseline='rest_lite', size=(32, 32), override=dict(depth=3)), ['override', 'timm:resnet18']),
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


@pytest.mark.slow
def test_times_and_memory_are_relative_to_the_baseline():
    """The baseline has five times as many operations."""
    found = benchmark(['rest_lite'], 'rest_large', size=(64, 96), batch_size=2, repeats=3)
    figures = found.models['rest_lite']
    assert figures['forward'] < 1 and figures['train_step'] < 1
    ratio = figures['saved_bytes_per_image'] / found.saved_bytes_per_image_of_baseline
    assert figures['saved_ratio'] == pytest.approx(ratio, rel=1e-2) and ratio < 1
    assert '64 x 96' in found.about and 'batch 2' in found.about
    alone = benchmark(['rest_lite'], 'rest_large', size=(64, 96), batch_size=2, memory_only=True)
    assert alone.models['rest_lite'] == {key: figures[key] for key in ('saved_bytes_per_image', 'saved_ratio')}


def test_settings_are_rows():
    """Weights and maps are saved in the dtype of mixed precision."""
    full, mixed = (benchmark(['rest_lite'], 'rest_lite', dense=True, size=(64, 64), batch_size=2, repeats=1,
                             precision=precision, kernels=['default', 'reference']).table
                   for precision in ('float32', 'bfloat16'))
    assert [row['kernels'] for row in full.rows] == ['default', 'default', 'reference']
    assert all(row['images_per_second'] > 0 and row['step_ms'] > 0 for row in [*full.rows, *mixed.rows])
    assert mixed.rows[1]['saved_bytes_per_image'] != full.rows[1]['saved_bytes_per_image']
    assert 'bfloat16' in mixed.about


@pytest.mark.compiler
def test_a_compiled_network_is_timed_beside_an_eager_one():
    model, images = torch.nn.Conv2d(3, 4, 1), torch.randn(2, 3, 8, 8)
    contenders = [Contender('net', model, images, runtime=runtime) for runtime in ('eager', 'compile')]
    for contender in contenders:
        contender.measure_memory()
    for part in 'forward', 'step':
        time_contenders(contenders, part, 1)
    assert [row.row['runtime'] for row in contenders] == ['eager', 'compile']
    assert all(row.row['forward_ms'] > 0 and row.row['step_ratio'] > 0 for row in contenders)
