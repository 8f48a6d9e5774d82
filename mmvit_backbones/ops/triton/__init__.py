"""Triton kernels of the operators, and whether they can run.

Other modules import the kernels only at launch, because Triton may be missing.
"""
import os
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from ...utils import versions

IS_INSTALLED = find_spec('triton') is not None
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'  # kernels run on the CPU, in Triton's interpreter
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MIN_CAPABILITY = 8, 0  # of NVIDIA's GPUs that run kernels without a request
MIN_LOGITS = 2**22  # of residual attention that runs without a request; smaller ones wait for launches
WINDOWS = 16, 25, 36, 49, 64  # tokens of the windows that residual attention processes as one block
MAX_HEAD_CHANNELS = 128  # blocks with all channels of a head must fit in registers
MAX_WINDOW_SIZE = 8  # the logits of a window must fit in registers


def why_not_triton(x: Tensor) -> str | None:
    """Returns the reason why Triton can't run on the tensor, or None if it can."""
    if not IS_INSTALLED:
        return 'Triton is not installed'
    if reason := versions.why_not('the Triton backend'):
        return reason
    if not (x.is_cuda or x.is_meta or INTERPRETED):
        return f'tensors must be on a GPU, got {x.device}'
    return None if x.dtype in DTYPES else f'tensors must be in float32, float16 or bfloat16, got {x.dtype}'


def is_measured_faster(q: Tensor, k: Tensor, bias: Tensor | None, **others) -> bool:
    """Returns whether residual attention of such shapes makes a network's step at least 1.1 times as fast in Triton.

    In CUDA graphs on an H100, this is so for ReViT, whose attention has no bias (1.26), and for ReSwin's windows
    (1.11), but not for ReMViTv2 (1.06), nor for varied-size windows (1.01).
    """
    is_like_measured = q.shape[3] in WINDOWS if q.ndim == 5 else bias is None
    return is_like_measured and q.shape[:-1].numel() * k.shape[-2] >= MIN_LOGITS


# Where operators run their Triton kernels without a request, by the shapes of their arguments.
DEFAULTS: dict[str, Callable[..., bool]] = {'residual attention': is_measured_faster}


def is_default(operator: str, x: Tensor, arguments: dict) -> bool:
    """Returns whether an operator runs its Triton kernels without a request.

    ``x`` is the argument that stands for the device and dtype. Meta tensors are like those on an NVIDIA H100. Programs
    of ``torch.compile``, which fuses plain PyTorch itself, were not measured.
    """
    return (may_be_default(operator, x) and x.dtype in (torch.float16, torch.bfloat16)
            and not versions.is_compiling() and DEFAULTS[operator](**arguments))


def may_be_default(operator: str, x: Tensor) -> bool:
    """Returns whether an operator runs Triton on the tensor's device without a request, for some dtypes and shapes."""
    return operator in DEFAULTS and (x.is_meta or x.is_cuda and _is_new_enough(x.device.index))


@versions.constant_in_graphs
def _is_new_enough(index: int) -> bool:
    if not torch.cuda.is_available():  # then tensors on GPUs are fake
        return True
    return torch.version.hip is None and torch.cuda.get_device_capability(index) >= MIN_CAPABILITY


def why_not_channels(head_channels: int) -> str | None:
    """Returns the reason why Triton kernels can't process heads of this many channels, or None if they can."""
    if head_channels > MAX_HEAD_CHANNELS:
        return f'heads must have at most {MAX_HEAD_CHANNELS} channels, got {head_channels}'
    return None
