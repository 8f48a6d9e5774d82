"""Stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382), per sample."""
import torch
from torch import Tensor, nn

from ..ops.constants import constant


class DropPath(nn.Module):
    """Drops samples with probability ``drop_prob`` in training, and scales the others by ``1 / (1 - drop_prob)``."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape ``(B, ...)``."""
        if not self.training or self.drop_prob == 0:
            return x
        ones = constant(one, like=x).expand(len(x), *[1] * (x.ndim - 1))
        keep, _ = torch.native_dropout(ones, self.drop_prob, True)  # draws and scales in one operator
        return x * keep

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3f}'


def one(like: Tensor) -> Tensor:
    return like.new_ones(())


def drop_path_schedule(drop_path_rate: float, depths: list[int]) -> list[list[float]]:
    """Returns the rates of all blocks, by stage; they increase linearly from 0 to ``drop_path_rate``.

    Raises:
        ValueError: If ``drop_path_rate`` is not in [0, 1).
    """
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f'drop_path_rate must be in [0, 1), got {drop_path_rate}')
    rates = iter(torch.linspace(0, drop_path_rate, sum(depths), dtype=torch.float64, device='cpu').tolist())
    return [[next(rates) for _ in range(depth)] for depth in depths]
