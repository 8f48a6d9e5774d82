"""What runs operators: torch itself, on the memory of tensors, or something that records or transforms them."""
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ..utils import versions


def is_eager(x: Tensor) -> bool:
    """Returns whether operators on ``x`` run at once, on its own memory."""
    if versions.is_compiling() or torch.jit.is_tracing() or is_transformed() or type(x) not in (Tensor, nn.Parameter):
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def is_transformed() -> bool:
    """Returns whether a transform of ``torch.func`` runs, such as ``vmap`` or ``jvp``, or forward-mode autograd.

    Kernels step aside there for formulas in plain PyTorch, which have all derivatives.
    """
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def channels_last(x: Tensor) -> Tensor:
    """Returns the same NCHW map in the layout that convolutions keep; ``vmap`` knows no layouts."""
    return x if is_transformed() else x.contiguous(memory_format=torch.channels_last)
