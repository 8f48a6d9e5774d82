"""Operators in plain PyTorch, with kernels in C++ and CUDA, if compiled, and in Triton."""
from .dispatch import plain_pytorch, use_kernels
from .varied_size_window import varied_size_window_attention, varied_size_window_sample

__all__ = ['plain_pytorch', 'use_kernels', 'varied_size_window_attention', 'varied_size_window_sample']
