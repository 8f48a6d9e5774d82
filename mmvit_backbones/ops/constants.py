"""Tensors that depend on numbers alone: made once, and shared by all modules instead of stored in each."""
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .eager import is_eager

made: dict[tuple, Tensor] = {}


def constant(make: Callable[..., Tensor], *arguments, like: Tensor) -> Tensor:
    """Returns ``make(*arguments, like)``, which takes dtype and device from ``like``; must not be written to.

    Graphs, fake tensors and transformed functions have their own.
    """
    if not is_eager(like):
        return make(*arguments, like)
    key = make, arguments, like.dtype, like.device
    if key not in made:
        # Autograd can't save an inference tensor, and what is made once is no part of what a mode records.
        with torch.inference_mode(False), _disable_current_modes():
            made[key] = make(*arguments, like)
    return made[key]
