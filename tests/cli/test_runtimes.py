"""Tests the figures and errors of `mmvit benchmark --runtime`."""
from functools import partial

import numpy as np
import pytest
import torch
from helpers import ROOT, raises, save_run
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from mmvit_backbones.cli.runtimes import compare_runtimes, prepare, prepare_whole
from mmvit_backbones.errors import UsageError


class Branches(nn.Module):
    """Runs in eager mode, but cannot be exported to a graph."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


def test_a_failed_runtime_has_its_error_as_result():
    images = torch.rand(2, 3, 8, 8)
    figures = compare_runtimes(partial(prepare, model=Branches(), images=images), images, ['onnxruntime', 'eager'], 1)
    assert figures['eager']['speedup'] == 1 and figures['eager']['p50_ms'] <= figures['eager']['p95_ms']
    assert list(figures['onnxruntime']) == ['error'] and 'data-dependent' in figures['onnxruntime']['error']


@pytest.mark.slow
def test_whole_models_give_the_same_scores(tmp_path):
    cfg = Config.fromfile(ROOT / 'tests/training/tiny_classifier.py')
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    save_run(cfg, model, tmp_path / 'model.pth')
    images = list(np.random.default_rng(0).integers(0, 256, (2, 60, 80, 3), dtype=np.uint8))
    scores = {}
    for runtime in 'eager', 'onnxruntime':
        found = prepare_whole(runtime, str(tmp_path / 'model.pth'), images, tmp_path)(images)
        scores[runtime] = np.stack([image['scores'] for image, in found])
    assert abs(scores['eager'][0] - scores['eager'][1]).max() > 1e-6
    for found in scores.values():
        np.testing.assert_allclose(found, scores['eager'], rtol=1e-4, atol=1e-6)
    with raises(UsageError, 'whole.onnx', 'training checkpoint'):
        prepare_whole('eager', str(tmp_path / 'whole.onnx'), images, tmp_path)
