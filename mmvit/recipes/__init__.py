"""Recipes: a network and a folder of data become a finished config."""
from .folder import fine_tune, other_data, save, summary

__all__ = ['fine_tune', 'other_data', 'save', 'summary']
