"""Recipes: a network and a folder of data become a finished config."""
from .fine_tune import fine_tune, other_data, save, summary

__all__ = ['fine_tune', 'other_data', 'save', 'summary']
