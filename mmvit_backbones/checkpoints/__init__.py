"""From the authors' checkpoints to ours: one converter per family, safe reading of files, and loading into a model."""
from .files import CheckpointError, load_checkpoint_file

__all__ = ['CheckpointError', 'load_checkpoint_file']
