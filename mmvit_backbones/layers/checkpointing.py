"""Activation checkpointing (Chen et al., arXiv 1604.06174) of blocks with dropout and batch norms."""
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ..utils import versions


def recompute(block: nn.Module, *args) -> Any:
    """Calls a block whose activations are computed again in the backward pass instead of being saved.

    The recomputation uses the same random numbers as the forward pass, and doesn't update the running statistics of
    batch norms a second time.
    """
    if versions.is_compiling():  # torch.compile supports context_fn for selective checkpointing only
        return checkpoint(block, *args, use_reentrant=False)
    return checkpoint(block, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), without_tracking(block)))


@contextmanager
def without_tracking(block: nn.Module) -> Iterator[None]:
    """Prevents batch norms from updating their running statistics, without changing their results."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0., None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, count
