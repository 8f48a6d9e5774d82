"""Handles the differences between PyTorch versions from 2.1 on."""
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UsageError

# Feature -> first PyTorch version that supports it. Numbers in comments are PyTorch pull requests.
NEEDS = {
    'compiling blocks': '2.6',  # torch.compiler.set_stance (137504)
    'compiling the operators': '2.4',  # as in ops/build.py
    'export': '2.8',  # dynamic sizes of whole detectors, found by testing
    'torch.compile': '2.4',  # found by testing
    'the Triton backend': '2.6',  # torch.library.triton_op (141880)
}


def is_older(version: str) -> bool:
    """Returns whether the installed PyTorch is older than ``version``, such as ``'2.6'``."""
    return torch.__version__ < version


def why_not(feature: str) -> str | None:
    """Returns why the installed PyTorch does not support a feature of :data:`NEEDS`, or None if it does."""
    needed = NEEDS[feature]
    return f'{feature} needs PyTorch {needed} or newer, got {torch.__version__}' if is_older(needed) else None


def require(feature: str) -> None:
    """Raises UsageError if the installed PyTorch is too old for a feature of :data:`NEEDS`."""
    if reason := why_not(feature):
        raise UsageError(reason)


Function = TypeVar('Function', bound=Callable)


def constant_in_graphs(function: Function) -> Function:
    """Marks a function that torch.compile calls while it traces, and whose result it takes as constant.

    The same as ``torch.compiler.assume_constant_result``, which imports torch's compiler, and with it Triton and SymPy.
    """
    vars(function)['_dynamo_marked_constant'] = True
    return function


debug_unwrap = getattr(torch.func, 'debug_unwrap', lambda x: x)  # since PyTorch 2.7


def allows_tf32() -> bool:
    """Returns whether matrix products in float32 may use TF32 on GPUs."""
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, 'fp32_precision'):  # since PyTorch 2.9; if a user sets it, reading allow_tf32 raises an error
        return matmul.fp32_precision == 'tf32'
    return bool(matmul.allow_tf32)


def plain_attention() -> AbstractContextManager:
    """Returns a context in which ``F.scaled_dot_product_attention`` runs without fused kernels."""
    if is_older('2.3'):
        return torch.backends.cuda.sdp_kernel(enable_flash=False, enable_mem_efficient=False)
    from torch.nn.attention import SDPBackend, sdpa_kernel
    return sdpa_kernel(SDPBackend.MATH)


if hasattr(torch, 'get_autocast_dtype'):
    is_autocast_enabled = torch.is_autocast_enabled
else:  # before 2.4, CPUs have a separate function, and other devices use the one for CUDA

    def is_autocast_enabled(device_type: str) -> bool:
        return torch.is_autocast_cpu_enabled() if device_type == 'cpu' else torch.is_autocast_enabled()


def autocast(device_type: str, dtype: torch.dtype) -> AbstractContextManager:
    """Returns the context of autocast to a dtype, or none for float32, which PyTorch 2.1 refuses on CPUs."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device_type, dtype)


if is_older('2.4'):

    def gelu(input: Tensor) -> Tensor:
        """Returns ``F.gelu(input)``; makes the output's gradient contiguous, as PyTorch before 2.4 assumes on CPUs."""
        output = F.gelu(input)
        if output.requires_grad:
            output.register_hook(Tensor.contiguous)
        return output
else:
    gelu = F.gelu
