"""Runs the goldens of operators and blocks: a file per family, a function per ``model`` of a golden.

Each takes the golden, one of its inputs and a dtype, and returns the outputs by the golden's names. A file has them in
``OPERATORS``; by the type of a backbone, ``DETAILS`` has outputs of goldens of whole networks in addition to logits,
stages and maps, and ``TRAINING_PASSES`` their training passes.
"""
import pkgutil
from importlib import import_module

FILES = [import_module(f'{__name__}.{module.name}') for module in pkgutil.iter_modules(__path__)]


def collect(name: str) -> dict:
    return {key: function for file in FILES for key, function in getattr(file, name, {}).items()}


OPERATORS, DETAILS, TRAINING_PASSES = map(collect, ('OPERATORS', 'DETAILS', 'TRAINING_PASSES'))
