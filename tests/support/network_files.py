"""Compares ONNX files of networks with PyTorch."""
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mmvit.inference.runtimes import open_session
from mmvit_backbones.export.onnx_export import signature_of


@torch.no_grad()
def compare_onnx(model: nn.Module, path: Path, sizes: Sequence[tuple[int, int]], runtime: str | None = None) -> float:
    """Returns the largest :func:`difference` of an output of a file, on random images of these heights and widths."""
    session, (channels, names), found = open_session(path, runtime, 'cpu'), signature_of(model.eval()), []
    for number, size in enumerate(sizes):
        images = torch.rand(1 + number % 2, channels, *size)
        outputs = session(dict(images=images.numpy()))
        found += [difference(torch.from_numpy(outputs[name]), expected)
                  for name, expected in zip(names, model(images), strict=True)]
    return max(found)


def difference(actual: Tensor, expected: Tensor) -> float:
    """Returns the largest difference relative to the largest element; inf for different shapes, NaN or infinity."""
    if actual.shape != expected.shape or not (actual.isfinite().all() and expected.isfinite().all()):
        return float('inf')
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny))
