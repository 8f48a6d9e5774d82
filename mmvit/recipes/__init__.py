"""Recipes: a network and a folder of data become a finished config. What is named here is imported when it is used."""
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arguments import FineTuning
    from .folder import fine_tune, save, summary, test_on

__all__ = ['FineTuning', 'fine_tune', 'save', 'summary', 'test_on']


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = 'arguments' if name == 'FineTuning' else 'folder'
    return getattr(import_module(f'{__name__}.{module}'), name)
