"""A sum with a weight."""
import torch
from torch import Tensor

from .dispatch import is_exporting


def add_weighted(x: Tensor, y: Tensor, weight: float) -> Tensor:
    """Returns ``x + weight * y``, in one operator unless ``torch.export`` is tracing, because LiteRT lacks it."""
    if weight == 1:
        return x + y
    return x + weight * y if is_exporting() else torch.add(x, y, alpha=weight)
