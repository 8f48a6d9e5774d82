"""Where Triton's kernels can run; importable without Triton."""
import os

import torch
from torch import Tensor

from ...utils import versions

try:
    import triton
except ImportError:
    triton = None

INTERPRETED = os.environ.get('TRITON_INTERPRET') == '1'  # on the CPU, by Triton's interpreter
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MAX_HEAD_CHANNELS = 128  # a block of a head is in registers
MAX_WINDOW_SIZE = 8  # a window is one block, whose logits are in registers


def why_not_triton(x: Tensor) -> str | None:
    """Returns the reason why Triton can't run on such a tensor, or None if it can."""
    if triton is None:
        return 'Triton is not installed'
    if reason := versions.why_not("Triton's operators"):
        return reason
    if not (x.is_cuda or x.is_meta or INTERPRETED):
        return f'it needs tensors on a GPU, got {x.device}'
    return None if x.dtype in DTYPES else f'it has no kernels for {x.dtype}'


def why_not_channels(head_channels: int) -> str | None:
    """Returns the reason why the kernels can't take heads of so many channels, or None if they can."""
    if head_channels > MAX_HEAD_CHANNELS:
        return f'heads must have at most {MAX_HEAD_CHANNELS} channels, got {head_channels}'
    return None
