"""Matrix products with one batch dimension, and sums of parts along it."""
import torch
from torch import Tensor


def flat(x: Tensor) -> Tensor:
    """One batch dimension."""
    return x.reshape(-1, *x.shape[-2:])


def scaled_bmm(a: Tensor, b: Tensor, scale: float, base: Tensor | None = None) -> Tensor:
    """``scale * a b``, plus ``base``, in one kernel."""
    if base is None:
        return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)
    return torch.baddbmm(base, a, b, alpha=scale)


def sum_parts(x: Tensor) -> Tensor:
    """The sum along the first axis."""
    return x.sum(0) if len(x) > 1 else x[0]
