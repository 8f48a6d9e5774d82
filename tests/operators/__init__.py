"""Runs the goldens of operators and blocks: a file per family, a function per ``model`` that such a golden names.

Each takes the golden, one of its inputs and a dtype, and returns the outputs by the golden's names.
"""
from . import refiner, regionvit, rest, revit, vitae

OPERATORS = {
    **refiner.OPERATORS, **regionvit.OPERATORS, **rest.OPERATORS, **revit.OPERATORS, **vitae.OPERATORS
}

# What goldens of whole networks hold besides logits, stages and maps, by the type of the backbone.
DETAILS = {'RefinerViT': refiner.details}
TRAINING_PASSES = {'RefinerViT': refiner.train}
