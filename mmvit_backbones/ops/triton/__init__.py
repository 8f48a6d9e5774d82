"""Triton kernels of the operators. Other modules import them only at launch, because Triton may be missing."""
