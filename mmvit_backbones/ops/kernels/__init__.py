"""Triton kernels of the operators, all of which importing this folder registers. It needs Triton."""
from . import (  # noqa: F401
    branches,
    normalized_attention,
    residual_attention,
    residual_window_attention,
    scaled_logits,
    sigmoid_gate,
    varied_size_window,
    window_sampling,
)
