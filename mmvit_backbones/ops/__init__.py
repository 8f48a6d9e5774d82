"""Operators in plain PyTorch, with faster kernels in Triton and, if compiled, in C++ and CUDA."""
from .varied_size_window import varied_size_window_attention, varied_size_window_sample

__all__ = ['varied_size_window_attention', 'varied_size_window_sample']
