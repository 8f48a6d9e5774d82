"""Recipes: a network and a folder of data become a finished config. Its functions are imported when they are used."""
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..fine_tuning import FineTuning

if TYPE_CHECKING:
    from .folder import fine_tune, save, test_on
    from .recipe import summary

__all__ = ['FineTuning', 'fine_tune', 'save', 'summary', 'test_on']


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{"recipe" if name == "summary" else "folder"}'), name)
