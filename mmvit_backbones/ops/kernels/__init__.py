"""Triton kernels of the operators. Importing a module of this folder needs Triton."""
