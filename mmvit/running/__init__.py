"""Trains and tests finished configs with MMEngine's runner."""
from .openmmlab_scripts import shorthand_options, testing_config, training_config
from .runner import test, train

__all__ = ['shorthand_options', 'test', 'testing_config', 'train', 'training_config']
