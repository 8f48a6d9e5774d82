"""Trains and tests finished configs with MMEngine's runner."""
from .check import check_run
from .config import shorthand_options, testing_config, training_config
from .run import best_of, test, train

__all__ = ['best_of', 'check_run', 'shorthand_options', 'test', 'testing_config', 'train', 'training_config']
