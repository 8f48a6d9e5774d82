"""Checks whether operators run eagerly, are recorded in a graph, or run under a function transform."""
import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad

from ..utils import versions


def is_eager(x: Tensor) -> bool:
    """Returns whether operators on ``x`` run immediately: not in graphs, under transforms or on fake tensors."""
    if versions.is_compiling() or is_tracing() or is_transformed() or type(x) not in (Tensor, nn.Parameter):
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def is_tracing() -> bool:
    """Returns whether ``torch.jit.trace`` records a graph."""
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage] - torch does not list it in __all__


@torch.compiler.assume_constant_result  # torch.compile assumes that peek_interpreter_stack() isn't None
def is_transformed() -> bool:
    """Returns whether a ``torch.func`` transform, such as ``vmap`` or ``jvp``, or forward-mode autograd is active.

    In this case, operators run their formulas, which have derivatives of every order and mode.
    """
    return peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def channels_last(x: Tensor) -> Tensor:
    """Converts an NCHW map to the channels-last memory format, except under transforms, which don't support it."""
    return x if is_transformed() else x.contiguous(memory_format=torch.channels_last)
