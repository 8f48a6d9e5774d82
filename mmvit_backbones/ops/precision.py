"""Dtypes of computations under half precision and autocast."""
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..utils import versions


def at_least_float32(x: Tensor) -> torch.dtype:
    """Returns the tensor's dtype, or float32 for half precision."""
    return torch.promote_types(x.dtype, torch.float32)


def without_autocast(device_type: str) -> AbstractContextManager:
    """Returns a context that disables autocast, or an empty context if autocast is disabled already.

    In exported graphs, an autocast context would become a subgraph, which not all tools support.
    """
    is_on = device_type != 'meta' and versions.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if is_on else nullcontext()
