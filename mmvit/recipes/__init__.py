"""Recipes: a network and a folder of data become a finished config."""
from .again import is_recipe, make_again
from .folder import fine_tune, other_data, save, summary

__all__ = ['fine_tune', 'is_recipe', 'make_again', 'other_data', 'save', 'summary']
