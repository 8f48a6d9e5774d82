"""Triton kernels of residual attention, and where they run by default.

Other modules import the kernels only at launch, because Triton may be missing.
"""
import os
from importlib.util import find_spec

import torch
from torch import Tensor

from ...utils import versions

IS_INSTALLED = find_spec('triton') is not None
INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'  # kernels run on the CPU, in Triton's interpreter
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MEASURED_CAPABILITY = 9, 0  # of the NVIDIA GPUs on which kernels were measured, and run without a request
WINDOWS = 16, 25, 36, 49, 64  # tokens of the windows that are processed as one block
MAX_HEAD_CHANNELS = 128  # blocks with all channels of a head must fit in registers


def may_be_default(x: Tensor) -> bool:
    """Returns whether kernels may run on the tensor without a request; meta tensors are like those on an H100."""
    is_measured = x.is_meta or x.is_cuda and _has_measured_capability(x.device.index)
    return x.dtype in (torch.float16, torch.bfloat16) and is_measured


@versions.constant_in_graphs
def _has_measured_capability(index: int) -> bool:
    if not torch.cuda.is_available():  # then tensors on GPUs are fake
        return True
    return torch.version.hip is None and torch.cuda.get_device_capability(index) == MEASURED_CAPABILITY
