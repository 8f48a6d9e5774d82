"""From the authors' checkpoints to ours: one converter per family, and safe reading of files."""
from .files import load_checkpoint_file

__all__ = ['load_checkpoint_file']
