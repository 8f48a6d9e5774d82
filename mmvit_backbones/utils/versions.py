"""Differences between versions of PyTorch, from 2.1 to the newest; imports nothing of this package."""
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree

# Features, and the version of PyTorch that brought what they are made of.
NEEDS = {
    'export to ONNX': '2.6',
    'export by torch.export or AOTInductor': '2.8',
    'sharded training (FSDP2)': '2.6',
    'resuming a training exactly': '2.5',
    'torch.compile for images of any size': '2.6',
}


class TooOldError(RuntimeError):
    """A feature needs a newer PyTorch than the one that is installed."""


def is_older(version: str) -> bool:
    """Returns whether the installed PyTorch is older than ``version``, such as ``'2.6'``."""
    return torch.__version__ < version


def require(feature: str) -> None:
    """Raises TooOldError if the installed PyTorch lacks a feature of :data:`NEEDS`."""
    if is_older(NEEDS[feature]):
        raise TooOldError(f'{feature} needs PyTorch {NEEDS[feature]} or newer, this is {torch.__version__}')


# torch.compile knows it by identity: it is not wrapped.
is_compiling = getattr(torch.compiler, 'is_compiling', None) or torch._utils.is_compiling
tree_leaves = getattr(_pytree, 'tree_leaves', lambda tree: _pytree.tree_flatten(tree)[0])


def is_exporting() -> bool:
    """Returns whether ``torch.export`` records a program; always false before PyTorch 2.7, which can't be asked."""
    return hasattr(torch.compiler, 'is_exporting') and torch.compiler.is_exporting()


if hasattr(torch, 'get_autocast_dtype'):
    is_autocast_enabled, get_autocast_dtype = torch.is_autocast_enabled, torch.get_autocast_dtype
else:  # before 2.4, CPUs have functions of their own, and other devices share those of CUDA

    def is_autocast_enabled(device_type: str) -> bool:
        return torch.is_autocast_cpu_enabled() if device_type == 'cpu' else torch.is_autocast_enabled()

    def get_autocast_dtype(device_type: str) -> torch.dtype:
        return torch.get_autocast_cpu_dtype() if device_type == 'cpu' else torch.get_autocast_gpu_dtype()


def gelu(x: Tensor) -> Tensor:
    """Returns ``F.gelu(x)``.

    On CPUs, the backward pass of PyTorch 2.1 reads a gradient as if it was contiguous, whatever its strides.
    """
    y = F.gelu(x)
    if y.requires_grad and is_older('2.4'):
        y.register_hook(Tensor.contiguous)
    return y
