"""Questions about the graph that code is traced into, and the transform that it runs in.

``torch.compile`` and ``torch.export`` keep sizes symbolic. If Python compares two symbolic sizes, torch adds a guard to
the graph. An image that violates the guard causes a recompilation or an error.
"""
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, _utils
from torch.autograd import forward_ad

from ..utils import versions

MAX_GRAPHS = 256  # of the blocks of a network
# PyTorch's limits of the graphs of a function; all blocks are calls of one function. Those of 2.6 have other names.
LIMITS = 'recompile_limit', 'accumulated_recompile_limit', 'cache_size_limit', 'accumulated_cache_size_limit'

# Assigned instead of wrapped, because torch.compile recognizes only the original function.
is_compiling = getattr(torch.compiler, 'is_compiling', None) or _utils.is_compiling


@versions.constant_in_graphs
def is_exporting() -> bool:
    """Returns whether ``torch.export`` is tracing; before PyTorch 2.7, which added this check, only for ONNX files.

    torch.compile must not trace this function, because it replaces ``torch.compiler.is_exporting()`` by True.
    """
    return getattr(torch.compiler, 'is_exporting', torch.onnx.is_in_onnx_export)()


def is_traced(x: Tensor) -> bool:
    """Returns whether operators on the tensor become part of a graph, or the tensor is fake."""
    return is_compiling() or type(x) is not Tensor


def is_transformed(*arguments: object) -> bool:
    """Returns whether any argument is a tensor of a ``torch.func`` transform or has a forward-mode tangent.

    For such derivatives, operators need plain PyTorch.
    """
    if is_compiling():
        return False
    return any(versions.debug_unwrap(x) is not x or forward_ad.unpack_dual(x).tangent is not None
               for x in arguments if torch.is_tensor(x))


def is_trained(x: Tensor) -> bool:
    """Returns whether gradients of the tensor may be computed, which exported programs don't."""
    return x.requires_grad and not is_exporting()


def are_fixed(*sizes: float | Tensor) -> bool:
    """Returns whether ``torch.export`` makes a program in which these sizes are the same for all images."""
    return is_exporting() and not any(isinstance(size, torch.SymInt) for size in sizes)


def may_be_nonzero(*numbers: float | Tensor) -> bool:
    """Returns whether any number is nonzero. Always True in graphs that must be valid for other image sizes, too."""
    return is_compiling() and not are_fixed(*numbers) or any(numbers)


if versions.is_older(versions.NEEDS['torch.compile']):

    def require_compiler() -> None:
        """Raises UsageError under ``torch.compile``, which fails or computes wrong gradients in this version."""
        if is_compiling():
            _refuse_compiler()  # pyright: ignore[reportCallIssue]  # torch does not annotate its decorator

    @torch.compiler.disable  # PyTorch would hide errors raised inside compiled code
    def _refuse_compiler() -> None:
        versions.require('torch.compile')
else:

    def require_compiler() -> None:
        pass


def allow_graphs() -> None:
    """Lets PyTorch compile at least 256 graphs of the blocks of a network, instead of 8."""
    for name, limit in _limits().items():
        setattr(torch._dynamo.config, name, max(limit, MAX_GRAPHS))


def limits_kept() -> AbstractContextManager:
    """Restores PyTorch's limits of graphs when the context ends."""
    config: Any = torch._dynamo.config
    return config.patch(_limits())


def _limits() -> dict[str, int]:
    return {name: getattr(torch._dynamo.config, name) for name in LIMITS if hasattr(torch._dynamo.config, name)}
