"""Triton kernels of the operators, each file of which is imported when it is asked for: Triton may be missing."""
from importlib import import_module
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name.startswith('_'):
        raise AttributeError(name)
    return import_module(f'{__name__}.{name}')
