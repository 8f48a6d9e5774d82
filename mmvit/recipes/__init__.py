"""Recipes: a network and a folder of data become a finished config."""
from .command import recipe_of
from .folder import fine_tune, other_data, save, summary, write_with_data

__all__ = ['fine_tune', 'other_data', 'recipe_of', 'save', 'summary', 'write_with_data']
