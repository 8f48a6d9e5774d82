"""Triton kernels of the operators, and whether they can run.

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


def why_not_channels(head_channels: int) -> str | None:
    """Returns the reason why Triton kernels can't process heads of this many channels, or None if they can."""
    if head_channels > MAX_HEAD_CHANNELS:
        return f'heads must have at most {MAX_HEAD_CHANNELS} channels, got {head_channels}'
    return None
