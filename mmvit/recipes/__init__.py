"""Recipes: a network and a folder of data become a finished config."""
from ..fine_tuning import FineTuning
from .folder import fine_tune, save, test_on
from .recipe import summary

__all__ = ['FineTuning', 'fine_tune', 'save', 'summary', 'test_on']
