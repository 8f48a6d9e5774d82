"""Training and tests of configs; importing this package registers its hooks and its optimizer constructor."""
from . import atomic  # noqa: F401  registers the file backend
from .check import check_run
from .config import shorthand_options, testing_config, training_config
from .early_stop import ResumableEarlyStoppingHook
from .exact_resume import ExactResumeHook
from .finite import FiniteLossHook
from .interrupt import InterruptHook
from .layer_decay import LayerDecayConstructor
from .own_files import OwnFilesHook
from .run import best_of, test, train
from .weight_decay import weight_decay_cfg

__all__ = ['ExactResumeHook', 'FiniteLossHook', 'InterruptHook', 'LayerDecayConstructor', 'OwnFilesHook',
           'ResumableEarlyStoppingHook', 'best_of', 'check_run', 'shorthand_options', 'test', 'testing_config', 'train',
           'training_config', 'weight_decay_cfg']
