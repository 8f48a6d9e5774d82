"""Exporters take functions for them, and not their plain formulas; ``make test-exports`` has these exporters.

If a new version of an exporter takes a plain formula, its test fails: replace the function by the formula.
"""
from collections.abc import Callable
from inspect import signature

import pytest
import torch
import torch.nn.functional as F
from exporters import EXPORTERS
from torch import Tensor, nn

from mmvit_backbones.ops import exportable


class Formula(nn.Module):
    """A formula after a convolution of two channels, as in the networks."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(self.conv(x))


def windows(x: Tensor) -> Tensor:
    """Partitions ``(B, H, W, 2 * d)`` into windows of 4 x 4 tokens and two heads by permuting seven dimensions."""
    x = x.unflatten(-1, (2, -1)).unflatten(2, (-1, 4)).unflatten(1, (-1, 4))
    return x.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(1, 2)


# Exporter, function and plain formula of a tensor (1, 2, 8, 8).
IDENTITIES = {
    'add_weighted': ('litert_torch', lambda x: exportable.add_weighted(x, x.square(), 0.3),
                     lambda x: torch.add(x, x.square(), alpha=0.3)),
    'floor_quotient': ('coremltools', lambda x: x.index_select(2, exportable.floor_quotient(8 * torch.arange(5), 5)),
                       lambda x: x.index_select(2, 8 * torch.arange(5) // 5)),
    'roll': ('onnxruntime', lambda x: exportable.roll(x, x.shape[2] // 3, 2),
             lambda x: torch.roll(x, x.shape[2] // 3, 2)),
    'rows_and_columns': ('executorch', lambda x: exportable.rows_and_columns(x.mT, 1, 0, 1, 7),
                         lambda x: F.pad(x.mT, (0, 0, 0, -1, -1, 0))),
    'softmax_of_maps': ('executorch', lambda x: exportable.softmax_of_maps(x, x.dtype), lambda x: x.softmax(-1)),
    'windows_by_head': ('executorch', lambda x: exportable.windows_by_head(x.permute(0, 2, 3, 1), 2, 4),
                        lambda x: windows(x.permute(0, 2, 3, 1))),
}
each_identity = pytest.mark.parametrize('name', IDENTITIES)


def check(name: str, index: int, folder) -> None:
    exporter, *formulas = IDENTITIES[name]
    pytest.importorskip(exporter)
    torch.manual_seed(0)
    model, x = Formula(formulas[index]).eval().requires_grad_(False), torch.randn(1, 2, 8, 8)
    found, = EXPORTERS[exporter](model, x, folder / 'model')
    torch.testing.assert_close(found, model(x))


@each_identity
def test_equal(name):
    _, function, plain = IDENTITIES[name]
    x = torch.randn(1, 2, 8, 8)
    torch.testing.assert_close(function(x), plain(x))


@pytest.mark.compiler
@pytest.mark.filterwarnings('ignore')  # warnings of exporters
@each_identity
def test_function(name, tmp_path):
    check(name, 0, tmp_path)


@pytest.mark.compiler
@pytest.mark.filterwarnings('ignore')
@pytest.mark.xfail(strict=True, reason='needs its function')
@each_identity
def test_plain_formula(name, tmp_path):
    check(name, 1, tmp_path)


def test_each_function_has_its_plain_formula():
    functions = {name: value for name, value in vars(exportable).items()
                 if getattr(value, '__module__', '') == exportable.__name__}
    assert {name for name, value in functions.items() if signature(value).return_annotation is Tensor
            } == set(IDENTITIES)
