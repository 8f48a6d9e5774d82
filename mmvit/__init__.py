"""The command ``mmvit``, and what it does as functions, which are imported when they are first used.

Example:
    >>> from mmvit import fine_tune, train
    >>> runner = train(fine_tune('vitaev2_small', coco_folder='data/coco_mini'))  # doctest: +SKIP
"""
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .comparing.comparison import compare
    from .deployment.exporting import export_model
    from .inference.predictor import Predictor
    from .measuring.speed import benchmark
    from .recipes.folder import fine_tune
    from .running.runner import test, train

__all__ = ['Predictor', 'benchmark', 'compare', 'export_model', 'fine_tune', 'test', 'train']

# Importing torch and the frameworks takes seconds, which `mmvit --help` should not.
_MODULES = dict(
    Predictor='inference.predictor', benchmark='measuring.speed', compare='comparing.comparison',
    export_model='deployment.exporting', fine_tune='recipes.folder', test='running.runner', train='running.runner')


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
