"""Functions that compute the outputs of goldens, in one module per family of networks.

A module can define three dicts:

- ``OPERATORS`` has functions by the ``model`` of a golden. They take the golden, one of its cases and a dtype, and
  return the outputs by name.
- ``DETAILS`` has functions by backbone class. They return outputs of a whole network besides logits, stages and maps.
- ``TRAINING_PASSES`` has functions by backbone class. They return outputs of a whole network in training mode.
"""
import pkgutil
from importlib import import_module

FILES = [import_module(f'{__name__}.{module.name}') for module in pkgutil.iter_modules(__path__)]


def collect(name: str) -> dict:
    return {key: function for file in FILES for key, function in getattr(file, name, {}).items()}


OPERATORS, DETAILS, TRAINING_PASSES = map(collect, ('OPERATORS', 'DETAILS', 'TRAINING_PASSES'))
