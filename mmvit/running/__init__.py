"""Trains and tests finished configs with MMEngine's runner."""
from .checks import check_run
from .config import shorthand_options, testing_config, training_config
from .runner import test, train

__all__ = ['check_run', 'shorthand_options', 'test', 'testing_config', 'train', 'training_config']
