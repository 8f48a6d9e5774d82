"""Times and memory relative to a baseline."""

import pytest
import torch
from helpers import raises

from mmvit.measuring import benchmark
from mmvit_backbones.errors import UsageError


@torch.no_grad()
def test_a_network_relative_to_itself_without_gradients_outside():
    threads = torch.get_num_threads()
    with torch.inference_mode():
        found = benchmark(['rest_lite'], 'rest_lite', dense=True, size=(64, 64), batch_size=2, repeats=1)
    row = found.rows[1]
    assert row['saved_ratio'] == 1 and row['saved_bytes_per_image'] > 1e6 and torch.get_num_threads() == threads
    assert all(row[f'{part}_{figure}'] > 0 for part in ('forward', 'step') for figure in ('ms', 'ratio'))


@pytest.mark.parametrize('network, options, words', [
    ('resnet50', {}, ['resnet50', 'reswin_tiny']),
    ('reswin_tiny', dict(baseline='torch:x'), ['baseline must be NAME or timm:NAME', 'torch:x']),
    ('reswin_tiny', dict(baseline='resnet'), ['baseline resnet: name must be one of']),
    ('reswin_tiny', dict(baseline='timm:none'), ['baseline timm:none: ', 'Unknown model']),
    ('rest_lite', dict(baseline='rest_lite', device='gpu'), ['device', 'gpu']),
    ('rest_lite', dict(precision='int8'), ['precision', 'bfloat16', 'int8']),
    ('rest_lite', dict(baseline='rest_lite', dense=True, size=(32, 32)),
     ['more than 1 value per channel'])])
def test_wrong_arguments_are_refused(network, options, words):
    with raises(UsageError, *words):
        benchmark([network], **options)
