"""Triton kernels of the operators, imported where they are launched: Triton may be missing."""
