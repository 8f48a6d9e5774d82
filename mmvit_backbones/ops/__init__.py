"""Operators of the package, with backends in plain PyTorch and, where built, in C++ and CUDA."""
from .varied_size_window import varied_size_window_attention, varied_size_window_sample

__all__ = ['varied_size_window_attention', 'varied_size_window_sample']
