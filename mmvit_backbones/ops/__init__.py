"""Operators of the package: in plain PyTorch, in Triton and, where they are built, in C++ and CUDA."""
from .varied_size_window import varied_size_window_attention, varied_size_window_sample

__all__ = ['varied_size_window_attention', 'varied_size_window_sample']
