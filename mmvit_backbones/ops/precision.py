"""Arithmetic that needs more than half precision."""
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..utils import versions


def at_least_float32(x: Tensor) -> torch.dtype:
    """Returns the tensor's dtype, or float32 for one of 16 bits."""
    return torch.promote_types(x.dtype, torch.float32)


def without_autocast(device_type: str) -> AbstractContextManager:
    """Disables autocast where it is on: graphs hold a context as a graph of its own, which not all tools can split."""
    is_on = device_type != 'meta' and versions.is_autocast_enabled(device_type)
    return torch.autocast(device_type, enabled=False) if is_on else nullcontext()


def product_dtype(x: Tensor) -> torch.dtype:
    """Returns the dtype of a linear layer's output for ``x``."""
    device = x.device.type
    autocast = device != 'meta' and versions.is_autocast_enabled(device)
    return versions.get_autocast_dtype(device) if autocast else x.dtype
