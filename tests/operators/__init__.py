"""Runs the goldens of operators and blocks: a file per family, a function per ``model`` that such a golden names.

Each takes the golden, one of its inputs and a dtype, and returns the outputs by the golden's names.
"""
from . import regionvit, rest, revit, vitae

OPERATORS = {**regionvit.OPERATORS, **rest.OPERATORS, **revit.OPERATORS, **vitae.OPERATORS}
