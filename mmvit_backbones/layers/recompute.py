"""Keep less for the backward pass: what is cheap to compute is computed twice."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Result = TypeVar('Result', Tensor, tuple[Tensor, ...])


def recompute(function: Callable[..., Result], *inputs: Tensor) -> Result:
    """Calls ``function``, keeping only its inputs for the backward pass.

    Meant for elementwise maps and norms in front of one expensive operation, such as a linear layer: recomputation ends
    at the input of that operation, so that the operation itself runs once (Chen et al., arXiv 1604.06174, on the
    smallest scale). The function must not contain random numbers or running statistics.

    Compilers decide by themselves what to recompute, and get the plain call.

    Args:
        function (Callable): From tensors to a tensor or several.
        inputs (Tensor): Its arguments.
    """
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return function(*inputs)
    return torch.utils.checkpoint.checkpoint(
        function, *inputs, use_reentrant=False, preserve_rng_state=False, determinism_check='none')


def recompute_block(block: nn.Module, *args):
    """Calls a block and computes it anew in the backward pass, random numbers included.

    Running statistics of batch norms are updated by the first of the two passes alone.
    """
    if torch.compiler.is_compiling():
        return torch.utils.checkpoint.checkpoint(block, *args, use_reentrant=False)
    return torch.utils.checkpoint.checkpoint(
        block, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), without_tracking(block)))


@contextmanager
def without_tracking(block: nn.Module) -> Iterator[None]:
    """Batch norms in training leave their running statistics as they are."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0., None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, count
