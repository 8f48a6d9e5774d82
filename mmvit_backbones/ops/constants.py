"""A cache of constant tensors that modules share instead of storing copies."""
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from .eager import is_eager

cache: dict[tuple, Tensor] = {}


def constant(make: Callable[..., Tensor], *arguments, like: Tensor) -> Tensor:
    """Returns ``make(*arguments, like)`` from a cache; callers must not modify the result in place.

    The result of ``make`` may depend only on the arguments and on the dtype and device of ``like``. The cache is not
    used in graphs, under function transforms or if ``like`` is a tensor subclass, such as a fake tensor.
    """
    if not is_eager(like):
        return make(*arguments, like)
    key = make, arguments, like.dtype, like.device
    if key not in cache:
        # Autograd can't save inference tensors, and dispatch modes must not record an operation that runs only once.
        with torch.inference_mode(False), _disable_current_modes():
            cache[key] = make(*arguments, like)
    return cache[key]
