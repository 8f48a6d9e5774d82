"""Tests the figures and errors of `mmvit benchmark --runtime`."""
from functools import partial

import torch
from torch import nn

from mmvit_backbones.cli import runtimes

TOOL = vars(runtimes)
compare_runtimes, prepare = TOOL['compare_runtimes'], TOOL['prepare']


class Branches(nn.Module):
    """Runs in eager mode, but cannot be exported to a graph."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if images.sum() > 0 else -images


def test_a_failed_runtime_has_its_error_as_result():
    images = torch.rand(2, 3, 8, 8)
    figures = compare_runtimes(partial(prepare, model=Branches(), images=images), images, ['onnxruntime', 'eager'], 1)
    assert figures['eager']['speedup'] == 1 and figures['eager']['p50_ms'] <= figures['eager']['p95_ms']
    assert list(figures['onnxruntime']) == ['error'] and 'data-dependent' in figures['onnxruntime']['error']
