"""Stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382), per sample."""
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.stochastic_depth import stochastic_depth


class DropPath(nn.Module):
    """Adds a residual branch that is dropped for random samples in training.

    A branch is dropped with probability ``drop_prob``; the others are scaled by ``1 / (1 - drop_prob)``.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.compiled_prob: Tensor | None = None  # in compiled blocks, whose graphs are for all probabilities

    def forward(self, x: Tensor, branch: Tensor, weight: float = 1.) -> Tensor:
        """Returns ``x + weight * branch`` for tensors ``(B, ...)``, with the branches of some samples dropped."""
        drop_prob = self.drop_prob if self.compiled_prob is None else self.compiled_prob
        return stochastic_depth(x, branch, drop_prob, self.training, weight)

    def _apply(self, fn: Callable, *args: Any, **kwargs: Any) -> 'DropPath':
        super()._apply(fn, *args, **kwargs)
        if self.compiled_prob is not None:  # which is no buffer, because it stays in float32
            self.compiled_prob = self.compiled_prob.to(fn(self.compiled_prob).device)
        return self

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3f}'


def drop_path_schedule(drop_path_rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Returns the rates of all blocks, by stage; they increase linearly from 0 to ``drop_path_rate``.

    Raises:
        ValueError: If ``drop_path_rate`` is not in [0, 1).
    """
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f'drop_path_rate must be in [0, 1), got {drop_path_rate}')
    rates = iter(torch.linspace(0, drop_path_rate, sum(depths), dtype=torch.float64, device='cpu').tolist())
    return [[next(rates) for _ in range(depth)] for depth in depths]
