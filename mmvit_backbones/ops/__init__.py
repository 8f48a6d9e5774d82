"""Operators in plain PyTorch, with kernels in C++, CUDA and Triton."""
from .dispatch import plain_pytorch, use_kernels
from .varied_size_window import varied_size_window_attention, varied_size_window_sample

__all__ = ['plain_pytorch', 'use_kernels', 'varied_size_window_attention', 'varied_size_window_sample']
