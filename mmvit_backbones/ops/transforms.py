"""Recognizes derivatives for which operators need plain PyTorch."""
import torch
from torch.autograd import forward_ad

from ..utils import versions


def is_transformed(*arguments: object) -> bool:
    """Returns whether any argument is a tensor of a ``torch.func`` transform or has a forward-mode tangent."""
    if versions.is_compiling():
        return False
    return any(versions.debug_unwrap(x) is not x or forward_ad.unpack_dual(x).tangent is not None
               for x in arguments if torch.is_tensor(x))
