"""Keep less for the backward pass: what is cheap to compute is computed twice."""
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.utils.checkpoint
from torch import Tensor

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
