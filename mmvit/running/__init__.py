"""Trains and tests finished configs with MMEngine's runner."""
from ..configs.scripts import shorthand_options, testing_config, training_config
from .prepare import check_run
from .runner import test, train

__all__ = ['check_run', 'shorthand_options', 'test', 'testing_config', 'train', 'training_config']
