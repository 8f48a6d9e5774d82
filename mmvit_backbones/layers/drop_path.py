"""Stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382), per sample."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..ops.exportable import add_weighted


class DropPath(nn.Module):
    """Adds a residual branch that is dropped for random samples in training.

    A branch is dropped with probability ``drop_prob``; the others are scaled by ``1 / (1 - drop_prob)``. Scaling and
    addition are one operator, which reads and writes less than a product followed by a sum.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor, branch: Tensor, weight: float = 1.) -> Tensor:
        """Returns ``x + weight * branch`` for tensors ``(B, ...)``, with the branches of some samples dropped."""
        if not self.training or self.drop_prob == 0:
            return add_weighted(x, branch, weight)
        keep_prob = 1 - self.drop_prob
        keep = branch.new_empty((len(branch), *[1] * (branch.ndim - 1))).bernoulli_(keep_prob)
        return torch.addcmul(x, branch, keep, value=weight / keep_prob)

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
