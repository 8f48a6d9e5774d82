"""Operators in plain PyTorch, with faster kernels in Triton and, if compiled, in C++ and CUDA."""
from .dispatch import plain_pytorch
from .varied_size_window import varied_size_window_attention, varied_size_window_sample

__all__ = ['plain_pytorch', 'varied_size_window_attention', 'varied_size_window_sample']
