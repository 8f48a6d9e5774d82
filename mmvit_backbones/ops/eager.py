"""Whether operators run eagerly, or are recorded or transformed."""
import torch
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.autograd import forward_ad

from ..utils import versions


def is_eager(x: Tensor) -> bool:
    """Returns whether operators on ``x`` run at once, on its own memory."""
    if versions.is_compiling() or is_tracing() or is_transformed() or type(x) not in (Tensor, nn.Parameter):
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def is_tracing() -> bool:
    """Returns whether ``torch.jit.trace`` records a graph."""
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage] - torch does not list it in __all__


@torch.compiler.assume_constant_result  # read while a graph is recorded: compilers take None for an object here
def is_transformed() -> bool:
    """Returns whether a transform of ``torch.func`` runs, such as ``vmap`` or ``jvp``, or forward-mode autograd.

    Kernels step aside there for formulas in plain PyTorch, which have all derivatives.
    """
    return peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def channels_last(x: Tensor) -> Tensor:
    """Returns an NCHW map stored channels-last, as convolutions keep it; under ``vmap``, without layouts, as it is."""
    return x if is_transformed() else x.contiguous(memory_format=torch.channels_last)
