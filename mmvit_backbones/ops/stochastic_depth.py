"""Stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382), per sample."""
import torch
from torch import Tensor

from .exportable import add_weighted
from .graphs import is_compiling, may_be_nonzero


def stochastic_depth(x: Tensor, branch: Tensor, drop_prob: float | Tensor, training: bool,
                     weight: float = 1.) -> Tensor:
    """Returns ``x + weight * branch`` for tensors ``(B, ...)``, in training with the branches of some samples dropped.

    In compiled training, all probabilities share a graph, also 0: a number that is only compared with random numbers
    stays symbolic in graphs for all sizes, and a tensor in all graphs. Otherwise, scaling and addition are one
    operator, which reads and writes less than a product followed by a sum.

    Args:
        drop_prob (float | Tensor): Probability with which a branch is dropped, less than 1; a tensor has no dimensions.
            Branches that are kept are scaled by ``1 / (1 - drop_prob)``.
    """
    if not training or not may_be_nonzero(drop_prob):
        return add_weighted(x, branch, weight)
    shape = len(branch), *[1] * (branch.ndim - 1)
    if is_compiling():
        kept = (torch.rand(shape, device=branch.device) >= drop_prob) * (weight / (1 - drop_prob))
        return torch.addcmul(x, branch, kept.to(branch.dtype))
    keep_prob = 1 - float(drop_prob)
    return torch.addcmul(x, branch, branch.new_empty(shape).bernoulli_(keep_prob), value=weight / keep_prob)
