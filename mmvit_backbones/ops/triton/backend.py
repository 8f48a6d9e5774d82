"""Whether kernels in Triton can run."""
from torch import Tensor

from ...utils import versions
from ..backend import Backend
from . import DTYPES, INTERPRETED, IS_INSTALLED, probe


class Triton(Backend):
    """Kernels in Triton."""
    name = 'triton'

    def why_not(self, x: Tensor) -> str | None:
        if not IS_INSTALLED:
            return 'Triton is not installed'
        if reason := versions.why_not('the Triton backend'):
            return reason
        if not (x.is_cuda or x.is_meta or INTERPRETED):
            return f'tensors must be on a GPU, got {x.device}'
        if x.dtype not in DTYPES:
            return f'tensors must be in float32, float16 or bfloat16, got {x.dtype}'
        return probe.error_on_gpu(x.device.index) if x.is_cuda else None  # the last, because it compiles kernels
